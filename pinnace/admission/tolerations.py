"""Tolerations: rules between their fields; single fields are checked by their options.

Source: core/v1's ValidateTolerations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.errors import Cause


def validate(where: str, items: Iterable[Any]) -> list[Cause]:
    """Errors of a list of tolerations at `where`."""
    errors: list[Cause] = []
    for index, item in enumerate(items):
        errors += _validate(f"{where}[{index}]", item)
    return errors


def _validate(path: str, item: Any) -> Iterator[Cause]:
    if not item.key and item.operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield fielderrors.invalid(f"{path}.operator", item.operator, text)
    if item.HasField("tolerationSeconds") and item.effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield fielderrors.invalid(f"{path}.effect", item.effect, text)
    if item.operator in ("", "Equal"):
        yield from meta.each(f"{path}.value", item.value, formats.label_value)
    elif item.operator == "Exists" and item.value:
        yield fielderrors.invalid(f"{path}.value", item.value, "value must be empty when `operator` is 'Exists'")
    elif item.operator in ("Gt", "Lt"):
        yield from meta.each(f"{path}.value", item.value, formats.decimal)
