"""Tables that a command line describes: `-o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName`, and --sort-by.

Source: the custom columns and sorting sections of the kubectl reference.
"""

from __future__ import annotations

from typing import Any

from cli import jsonpath, tables
from pinnace.errors import BadRequest

PREFIX = "custom-columns="
NONE = "<none>"


def parse(format_: str) -> list[tuple[str, str]]:
    """(title, path) of each column. Raises BadRequest."""
    columns = []
    for part in format_.removeprefix(PREFIX).split(","):
        title, _, path = part.partition(":")
        if not title or not path:
            raise BadRequest(f'custom-columns: "{part}" is not TITLE:PATH, such as NAME:.metadata.name')
        columns.append((title, path))
    return columns


def table(format_: str, documents: list[dict[str, Any]], *, header: bool = True, widths: list[int] | None = None) -> str:
    """`widths` as in `tables.grow`. Raises BadRequest for a path that cannot be read."""
    columns = parse(format_)
    rows = [[title for title, _ in columns]] if header else []
    rows += [[_cell(path, document) for _, path in columns] for document in documents]
    return tables.render(rows, tables.grow(widths, rows)) if rows else ""


def _cell(path: str, document: dict[str, Any]) -> str:
    return ",".join(jsonpath.show(value) for value in jsonpath.select(path, document)) or NONE


def sort_key(path: str, document: dict[str, Any]) -> tuple[int, float, str]:
    """Objects without the field first, then numbers by value, then text. Raises BadRequest."""
    found = jsonpath.select(path, document)
    if not found:
        return 0, 0.0, ""
    if isinstance(found[0], (int, float)):
        return 1, float(found[0]), ""
    return 2, 0.0, jsonpath.show(found[0])
