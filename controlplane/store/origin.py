"""Who writes: the user or component behind a transaction, which travels with its commit to every control plane.

The layers that know it (the guard of RPCs, the REST API, controllers, the scheduler) set it around their work, and
`Store.update` reads it. It decides nothing: the timeline shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

# Characters of each part: a user's name may be longer than any that is worth a record.
MAX_PART = 200


class Origin(NamedTuple):
    """`actor`: a user's name, or `controller:NAME`, `scheduler`... `time`: of the commit, in seconds since the epoch.

    `verb`, `subresource` and `manager` (the field manager) are those of the request; empty for a component."""

    actor: str = ""
    verb: str = ""
    subresource: str = ""
    manager: str = ""
    time: float = 0.0

    def encode(self) -> bytes:
        return json.dumps([round(self.time, 6), *self[:4]], separators=(",", ":"), ensure_ascii=False).encode()


def decode(data: bytes) -> Origin | None:
    """None for bytes that no control plane of this version wrote."""
    try:
        time, *parts = json.loads(data)
        texts = [str(part)[:MAX_PART] for part in parts]
        actor, verb, subresource, manager = texts
        return Origin(actor, verb, subresource, manager, float(time))
    except (ValueError, TypeError, RecursionError):
        return None


_NONE = Origin()
_present: ContextVar[Origin] = ContextVar("origin", default=_NONE)


def present(now: float) -> Origin:
    """Of a transaction that is committed now by the running task."""
    return _present.get()._replace(time=now)


@contextmanager
def acting(actor: str) -> Iterator[None]:
    """Around the work of a user or component; tasks that are created within inherit it."""
    token = _present.set(Origin(_part(actor)))
    try:
        yield
    finally:
        # A generator that is closed by another task leaves the variable of that task alone.
        try:
            _present.reset(token)
        except ValueError:
            pass


def note(*, verb: str | None = None, subresource: str | None = None, manager: str | None = None) -> None:
    """Complete the present origin with parts of a request, as they become known."""
    known = _present.get()
    _present.set(
        known._replace(
            verb=known.verb if verb is None else _part(verb),
            subresource=known.subresource if subresource is None else _part(subresource),
            manager=known.manager if manager is None else _part(manager),
        )
    )


def _part(text: str) -> str:
    """Lone surrogates cannot be encoded; they are shown as question marks."""
    return text[:MAX_PART].encode(errors="replace").decode()
