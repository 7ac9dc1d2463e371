"""Tables that a command line describes: `-o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName`.

Source: the custom columns section of the kubectl reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cli import reading, tables
from pinnace import jsonpath
from pinnace.errors import BadRequest
from pinnace.jsonpath import gotext

PREFIX = "custom-columns="
FILE_PREFIX = "custom-columns-file="
NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    template: jsonpath.Template

    def cell(self, document: dict[str, Any]) -> str:
        """All that the column's path finds, or `<none>`. Raises BadRequest."""
        found = [value for values in self.template.results(document) for value in values]
        return ",".join(gotext.plain(value) for value in found) or NONE


def parse(format_: str) -> list[Column]:
    """The columns of `custom-columns=...` or `custom-columns-file=PATH`. Raises BadRequest."""
    if format_.startswith(FILE_PREFIX):
        return _from_file(format_.removeprefix(FILE_PREFIX))
    columns = []
    for part in jsonpath.split(format_.removeprefix(PREFIX), ","):
        title, _, path = part.partition(":")
        if not title or not path:
            raise BadRequest(f'custom-columns: "{part}" is not TITLE:PATH, such as NAME:.metadata.name')
        columns.append(_column(title, path))
    return columns


def _from_file(path: str) -> list[Column]:
    """A line of titles and a line of paths, with white space in between."""
    lines = reading.text(path).splitlines()
    if len(lines) < 2:
        raise BadRequest(f"{path}: a line of titles and a line of paths are needed")
    titles, paths = lines[0].split(), lines[1].split()
    if len(titles) != len(paths) or not titles:
        raise BadRequest(f"{path}: number of headers ({len(titles)}) and field specifications ({len(paths)}) don't match")
    return [_column(title, path) for title, path in zip(titles, paths, strict=True)]


def _column(title: str, path: str) -> Column:
    return Column(title, jsonpath.Template(jsonpath.relaxed(path)))


def table(format_: str, documents: list[dict[str, Any]], *, header: bool = True, widths: list[int] | None = None) -> str:
    """`widths` as in `tables.grow`. Raises BadRequest for a path that cannot be read."""
    columns = parse(format_)
    rows = [[column.title for column in columns]] if header else []
    rows += [[column.cell(document) for column in columns] for document in documents]
    return tables.render(rows, tables.grow(widths, rows)) if rows else ""
