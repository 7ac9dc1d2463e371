"""The argument of `kctl explain`: which of its parts name the kind, and which are fields.

A kind may be named with its group (`events.events.k8s.io.note`), so the longest beginning that names one counts.

Source: SplitAndParseResourceRequestWithMatchingPrefix of k8s.io/kubectl.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cli import discovery
from pinnace import kinds, schema
from pinnace.errors import ApiError, NotFound
from pinnace.kinds import Kind, Kinds


@dataclass(frozen=True, slots=True)
class Explained:
    """`word` names the kind, as the user wrote it."""

    kind: Kind
    word: str
    fields: list[str]


def locate(path: str, api_version: str, connect: Callable[[], object]) -> Explained:
    """The kind, in `api_version` unless that is empty, and the fields. `connect` makes the control plane's kinds known, which
    built-in ones do without. Raises NotFound."""
    parts = path.rstrip(".").split(".")
    built_in = _longest(kinds.built_in(), parts, api_version)
    if built_in is not None and _is_path(built_in):
        return built_in
    try:
        connect()
        found = _longest(discovery.every(), parts, api_version)
    except ApiError:
        # Without a control plane there is only the built-in kind, whose missing field is the better error.
        if built_in is None:
            raise
        return built_in
    if found is None:
        raise _missing(parts, api_version)
    return found


def _longest(known: Kinds, parts: list[str], api_version: str) -> Explained | None:
    for count in range(len(parts), 0, -1):
        word = ".".join(parts[:count])
        for kind in known.meant(word):
            if api_version in ("", kind.api_version):
                return Explained(kind, word, parts[count:])
    return None


def _is_path(found: Explained) -> bool:
    """Whether the first field exists, or cannot be the beginning of a custom kind's group, which has a dot."""
    return len(found.fields) < 2 or schema.of(found.kind.cls).find(found.fields[0]) is not None


def _missing(parts: list[str], api_version: str) -> NotFound:
    """In kubectl's words where the kind has no such version."""
    try:
        kind = discovery.by_word(parts[0])
    except NotFound as error:
        return error
    group, _, version = api_version.rpartition("/")
    return NotFound(f'couldn\'t find resource for "{group}/{version}, Resource={kind.plural}"')
