"""Results of functions of a message, by the message's bytes: the objects that a controller makes from one template have the
same spec, and an object keeps its spec when something else of it changes.

Only for pure functions of which a result is never changed. The keys of one function take at most MAX_RESULTS * MAX_SIZE bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pinnace.messages import clone

T = TypeVar("T")
# Messages of which one function's results are remembered, the last ones that were new, and the largest of them in bytes.
MAX_RESULTS, MAX_SIZE = 128, 8 << 10


class Remembered(Generic[T]):
    """`function`, which is called for messages that are not remembered."""

    def __init__(self, function: Callable[[Any], T], most: int = MAX_RESULTS) -> None:
        self._function = function
        self._most = most
        self._results: dict[bytes, T] = {}

    def __call__(self, message: Any) -> T:
        # Maps in one order: else equal messages may have different bytes, which costs no more than a call.
        key = message.SerializeToString(deterministic=True)
        if key in self._results:
            return self._results[key]
        result = self._function(message)
        if len(key) <= MAX_SIZE:
            self._results[key] = result
            while len(self._results) > self._most:
                del self._results[next(iter(self._results))]
        return result


def in_place(change: Callable[[Any], None]) -> Callable[[Any], None]:
    """A function that changes a message, which depends on nothing else."""

    def changed(message: Any) -> Any:
        out = clone(message)
        change(out)
        return out

    remembered = Remembered(changed)
    return lambda message: message.CopyFrom(remembered(message))
