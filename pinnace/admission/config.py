"""ConfigMaps and Secrets: keys, size, immutability, and a Secret's stringData."""

from __future__ import annotations

import re
from typing import Any

from pinnace import codec
from pinnace.errors import Cause

MAX_BYTES = 1 << 20
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z", re.ASCII)


def prepare(message: Any) -> None:
    """stringData is for writing only: it becomes data."""
    for key, value in message.stringData.items():
        message.data[key] = value.encode()
    message.ClearField("stringData")


def validate(message: Any) -> list[Cause]:
    binary = getattr(message, "binaryData", {})
    faults = []
    size = 0
    for name, items in (("data", message.data), ("binaryData", binary)):
        for key, value in items.items():
            size += len(key) + len(value)
            if not _KEY.match(key) or key in (".", "..") or key.startswith(".."):
                shown = codec.describe(key)
                faults.append(Cause(name, f"Invalid value: {shown}: a key is made of letters, digits, '-', '_' and '.'"))
    faults += [Cause("binaryData", f"Duplicate value: {key}: also in data") for key in binary if key in message.data]
    if size > MAX_BYTES:
        faults.append(Cause("data", f"Too long: may not be more than {MAX_BYTES} bytes"))
    return faults


def validate_update(old: Any, new: Any) -> list[Cause]:
    if not old.immutable:
        return []
    same = old.data == new.data and getattr(old, "binaryData", None) == getattr(new, "binaryData", None)
    if same and new.immutable:
        return []
    return [Cause("data", "field is immutable when `immutable` is set", "FieldValueForbidden")]
