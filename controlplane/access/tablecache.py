"""Rule tables of roles, made when a role is first asked for after a change, and bounded in size."""

from __future__ import annotations

from controlplane.access.rules import RuleTable
from controlplane.store import StoredObject

# Stored bytes of the roles that tables are kept of, which take some ten times as much.
MAX_SIZE = 4 << 20


class TableCache:
    """By key; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._tables: dict[str, tuple[StoredObject, RuleTable]] = {}
        self._size = 0

    def of(self, row: StoredObject) -> RuleTable:
        """The table of a stored Role or ClusterRole."""
        found = self._tables.get(row.key)
        if found is not None and found[0] is row:
            return found[1]
        if found is not None:
            self._drop(row.key)
        table = RuleTable(row.message.rules)
        self._tables[row.key] = row, table
        self._size += len(row.value)
        while self._size > MAX_SIZE and len(self._tables) > 1:
            self._drop(next(iter(self._tables)))
        return table

    def _drop(self, key: str) -> None:
        self._size -= len(self._tables.pop(key)[0].value)
