"""A table that every session sends alike: each change is serialized once, whatever the number of sessions.

A session remembers the version up to which it has sent the table, so a session costs no memory for it, what an entry costs does
not depend on how often other sessions take it, and a slow session sends only the latest of each entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pinnace.api.v1 import nodes_pb2

# Removed entries that are kept for sessions that have yet to send their removal.
MAX_REMOVED = 1000


@dataclass(frozen=True, slots=True)
class _Entry:
    """`identity` is equal for equal content, and None for an entry that was removed. `data` is an Assignment with this one
    change, `announced` one that lists its key in `following`."""

    version: int
    identity: object
    data: bytes
    announced: bytes


@dataclass(frozen=True, slots=True)
class Portion:
    """A serialized Assignment, and the version that a session has sent then."""

    data: bytes
    seen: int


class SharedTable:
    def __init__(self) -> None:
        self.version = 0
        # In order of versions.
        self._entries: dict[str, _Entry] = {}
        self._removed = 0

    def set(self, key: str, identity: object, change: Callable[[], nodes_pb2.Change]) -> bool:
        """Set an entry to a change with its key, or remove it (identity None); returns whether that changes anything."""
        before = self._entries.get(key)
        if identity == (before.identity if before is not None else None):
            return False
        self._entries.pop(key, None)
        if before is not None and before.identity is None:
            self._removed -= 1
        if identity is None:
            self._removed += 1
        self.version += 1
        data = nodes_pb2.Assignment(changes=[change()]).SerializeToString()
        announced = nodes_pb2.Assignment(following=[key]).SerializeToString()
        self._entries[key] = _Entry(self.version, identity, data, announced)
        return True

    def present(self) -> list[str]:
        """Keys of what is not removed."""
        return [key for key, entry in self._entries.items() if entry.identity is not None]

    def all(self, *, but: str = "") -> bytes:
        """Every entry, except for the one of a key."""
        return b"".join([e.data for key, e in self._entries.items() if e.identity is not None and key != but])

    def since(self, version: int, *, but: str = "") -> bytes:
        """The entries that changed after a version, except for the one of a key."""
        return b"".join([entry.data for key, entry in self._newer(version) if key != but])

    def portion(self, version: int, room: int) -> Portion:
        """Entries that changed after a version, the oldest first, until `room` bytes are full; at least one."""
        found, size, seen = list[bytes](), 0, version
        for _, entry in reversed(list(self._newer(version))):
            if found and size + len(entry.data) > room:
                return Portion(b"".join(found), seen)
            found.append(entry.data)
            size += len(entry.data)
            seen = entry.version
        return Portion(b"".join(found), self.version)

    def announcement(self, version: int) -> bytes:
        """An Assignment that lists in `following` the entries after a version."""
        return b"".join([entry.announced for _, entry in self._newer(version) if entry.identity is not None])

    def _newer(self, version: int) -> Iterator[tuple[str, _Entry]]:
        """The newest first, without a look at those that are older than `version`."""
        for key, entry in reversed(self._entries.items()):
            if entry.version <= version:
                return
            yield key, entry

    def prune(self, version: int) -> None:
        """Forget removals up to `version`, which every session has sent."""
        if self._removed > MAX_REMOVED:
            gone = [key for key, entry in self._entries.items() if entry.identity is None and entry.version <= version]
            for key in gone:
                del self._entries[key]
            self._removed -= len(gone)
