"""A transaction that counts what is read, for tests of what an operation costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from controlplane.store import Tx


class CountingReads:
    """Calls of a transaction's methods, counted by their name and the kind of their first argument."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.calls: Counter[tuple[str, str]] = Counter()

    @property
    def tx(self) -> Tx:
        return cast("Tx", self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tx, name)
        return self._counted(name, found) if callable(found) else found

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if arguments:
                self.calls[name, getattr(arguments[0], "kind", "")] += 1
            return method(*arguments, **options)

        return call
