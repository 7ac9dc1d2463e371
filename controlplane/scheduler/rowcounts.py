"""How often each key occurs on each row of the node table: label pairs, host ports, and groups of pods that are spread.

A change costs the same whatever the table holds. Counts are sparse, since there are many more keys than any pod asks for; an
array over all rows exists only for keys that were used lately, and follows each change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Counts, Floats, Mask

# Arrays kept: 20 KB each with 5,000 nodes.
MAX_ARRAYS = 128
# Rows that are marked one by one rather than by an array.
MAX_SPARSE = 64


class RowCounts:
    """Counts by key and row; `capacity` is the length of the arrays."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._sparse: dict[Hashable, dict[int, int]] = {}
        self._arrays: OrderedDict[Hashable, Counts] = OrderedDict()

    def add(self, key: Hashable, row: int, count: int) -> None:
        """Count a key on a row; negative to count it out."""
        rows = self._sparse.setdefault(key, {})
        total = rows.get(row, 0) + count
        if total:
            rows[row] = total
        else:
            rows.pop(row, None)
        if key in self._arrays:
            self._arrays[key][row] = total
        if not rows:
            del self._sparse[key]
            self._arrays.pop(key, None)

    def of(self, key: Hashable) -> Counts | None:
        """The counts on all rows; None where there is none on any."""
        rows = self._sparse.get(key)
        if rows is None:
            return None
        found = self._arrays.get(key)
        if found is None:
            found = self._arrays[key] = np.zeros(self._capacity, dtype=np.int32)
            found[list(rows)] = list(rows.values())
            if len(self._arrays) > MAX_ARRAYS:
                self._arrays.popitem(last=False)
        else:
            self._arrays.move_to_end(key)
        return found

    def mark(self, key: Hashable, mask: Mask) -> None:
        """Set the rows of a key in a mask over the first rows; many keys with few rows each need no arrays."""
        rows = self._sparse.get(key, {})
        if len(rows) > MAX_SPARSE:
            counts = self.of(key)
            assert counts is not None
            mask |= counts[: len(mask)] > 0
        else:
            mask[list(rows)] = True

    def rows(self, key: Hashable) -> Mapping[int, int]:
        """The counts of a key by row, where there is any."""
        return self._sparse.get(key, {})

    def by_number(self, key: Hashable, numbers: Counts, length: int) -> Floats:
        """The sums of a key's counts over the rows of each number below `length`."""
        rows = self._sparse.get(key, {})
        counts = self.of(key) if len(rows) > MAX_SPARSE else None
        if counts is None:
            numbers, counts = numbers[list(rows)], np.array(list(rows.values()), dtype=np.int32)
        return np.bincount(numbers, weights=counts, minlength=length).astype(np.float64)

    def clear(self, key: Hashable) -> None:
        """Drop all counts of a key."""
        self._sparse.pop(key, None)
        self._arrays.pop(key, None)

    def resize(self, capacity: int) -> None:
        """Arrays are made again when they are next used."""
        self._capacity = capacity
        self._arrays.clear()

    def snapshot(self) -> dict[Hashable, dict[int, int]]:
        """All counts, for comparison in tests."""
        return self._sparse
