"""What the kinds of rollouts have in common."""

from __future__ import annotations

from typing import Any, NamedTuple


class Progressed(NamedTuple):
    """A sentence about a rollout, and whether it is complete."""

    text: str
    done: bool


class Revision(NamedTuple):
    """A version of a template. `source` is the object that keeps it, of the kind `kind`."""

    template: Any
    cause: str
    kind: Any
    source: Any


class Undo(NamedTuple):
    """A patch; `type_` is one of PatchRequest."""

    type_: str
    body: Any
