"""The history and author of a base image, from its config as it came from a registry: every member checked. Pure.

Source: the OCI image-spec's config section.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_TEXTS = ("created", "created_by", "author", "comment")
# Entries, and characters of one text.
MAX_ENTRIES, MAX_TEXT = 10_000, 64 << 10


@dataclass(frozen=True, slots=True)
class BaseHistory:
    """`entries` that are not marked empty are as many as the image's layers."""

    entries: tuple[dict[str, Any], ...]
    author: str = ""


def read(document: bytes, image: str, layers: int) -> BaseHistory:
    """An entry `FROM image` for each layer where the document has no history that fits."""
    instead = BaseHistory(tuple({"created_by": f"FROM {image}"} for _ in range(layers)))
    try:
        value = json.loads(document) if document else {}
    except (ValueError, RecursionError):
        return instead
    history, author = (value.get("history"), value.get("author")) if isinstance(value, dict) else (None, None)
    author = author if isinstance(author, str) and _is_text(author) else ""
    if not isinstance(history, list) or len(history) > MAX_ENTRIES or not all(isinstance(item, dict) for item in history):
        return BaseHistory(instead.entries, author)
    entries = tuple(_entry(item) for item in history)
    fits = sum("empty_layer" not in entry for entry in entries) == layers
    return BaseHistory(entries if fits else instead.entries, author)


def _entry(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: item[name] for name in _TEXTS if _is_text(item.get(name))}
    return found | ({"empty_layer": True} if item.get("empty_layer") is True else {})


def _is_text(value: object) -> bool:
    """A short string that is UTF-8."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
