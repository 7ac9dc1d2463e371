"""Numbers as Kubernetes writes them: a client that reads an integer fails on `1000.0`, which is how Python writes 1e3."""

from __future__ import annotations

from typing import Any

# From here on Go writes an exponent.
MOST = 1e21


def settle(tree: Any) -> None:
    """Whole numbers of a JSON tree become integers, in place."""
    pending = [tree]
    while pending:
        value = pending.pop()
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        whole = [(at, int(item)) for at, item in entries if type(item) is float and item.is_integer() and abs(item) < MOST]
        for at, number in whole:
            value[at] = number
        pending.extend(item for item in (value.values() if isinstance(value, dict) else value) if isinstance(item, dict | list))
