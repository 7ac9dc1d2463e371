"""The bound of what a controller writes in one transaction: backends limit its operations and its bytes.

What is left over is written by the next transaction of the same key, so progress is kept however it ends.
"""

from __future__ import annotations

# Of the 100 operations and 1,400 KiB that fit into a transaction on etcd; the rest is for what a transaction reads and
# writes besides.
MAX_OPERATIONS = 80
MAX_BYTES = 1 << 20


class WriteBudget:
    """What one transaction may still write."""

    def __init__(self, *, operations: int = MAX_OPERATIONS, size: int = MAX_BYTES) -> None:
        self._operations = operations
        self._size = size
        self._used = False

    def take(self, size: int, *, operations: int = 1) -> bool:
        """Whether a further object fits that needs so many bytes and operations (reads or writes, whichever are more).

        The first always does: a single object that is too large fails by itself."""
        fits = operations <= self._operations and size <= self._size
        if not fits and self._used:
            return False
        self._used = True
        self._operations -= operations
        self._size -= size
        return True
