"""Secondary indexes of the watch cache. An index is built when it is first asked for, and then kept up to date.

The kinds that a store is opened with say which indexes there are (`Kinds.index`); resources declare them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from controlplane.store.objects import StoredObject

log = logging.getLogger("pinnace.store")


class Index:
    def __init__(self, values: Callable[[Any], Sequence[str]], rows: Iterable[StoredObject]) -> None:
        """`values`: what an object is found under. Pure."""
        self._values = values
        self._keys: dict[str, dict[str, None]] = {}
        # What an object is found under, so that a change need not parse the object as it was.
        self._found: dict[str, Sequence[str]] = {}
        for row in rows:
            self.update(row.key, row)

    def keys(self, value: str) -> Collection[str]:
        return self._keys.get(value, {}).keys()

    def update(self, key: str, row: StoredObject | None) -> None:
        """The object at `key` is now `row`."""
        for value in self._found.pop(key, ()):
            found = self._keys[value]
            found.pop(key, None)
            if not found:
                del self._keys[value]
        values = () if row is None else self._of(row)
        if values:
            self._found[key] = values
        for value in values:
            self._keys.setdefault(value, {})[key] = None

    def _of(self, row: StoredObject) -> Sequence[str]:
        try:
            return tuple(dict.fromkeys(self._values(row.message)))
        except DecodeError:
            log.error("object_unreadable key=%s", row.key)
            return ()
