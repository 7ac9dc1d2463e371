"""The layout of tables as text. Their columns and cells come from the control plane (controlplane/resources/columns.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinnace.errors import Internal

if TYPE_CHECKING:
    from pinnace.kinds import Kind

NONE = "<none>"
_BROKEN = "the control plane's reply is not a table: is it of the same version? (kctl version)"
_BREAKS = str.maketrans("\f\r", "\n\n")


@dataclass(frozen=True, slots=True)
class Column:
    """`wide`: shown by -o wide alone. `named`: its cells are the objects' names."""

    title: str
    wide: bool = False
    named: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """The texts of one object's cells; `item` is the object, or a PartialObjectMetadata, as far as it was asked for."""

    cells: tuple[str, ...]
    item: Any = None


@dataclass(slots=True)
class Table:
    """Rows of one kind."""

    columns: tuple[Column, ...] = ()
    rows: list[Row] = field(default_factory=list)

    def take(self, kind: Kind, message: Any) -> list[Row]:
        """Add the rows of a Table message, and keep its columns if it has any; returns those rows.

        Raises Internal for a row that does not fit the columns or holds no object."""
        if message.columnDefinitions:
            self.columns = tuple(map(_column, message.columnDefinitions))
        if any(len(row.cells) != len(self.columns) for row in message.rows):
            raise Internal(_BROKEN)
        added = [Row(tuple(map(cell_text, row.cells)), _opened(kind, row)) for row in message.rows]
        self.rows += added
        return added


def _column(definition: Any) -> Column:
    return Column(definition.name.upper(), wide=definition.priority > 0, named=definition.format == "name")


def _opened(kind: Kind, row: Any) -> Any:
    if not row.HasField("object"):
        return None
    # Imported here: commands that print tables of their own need no messages (0.04 s).
    from google.protobuf.message import DecodeError

    from cli.client import opened
    from pinnace.meta.v1.meta_pb2 import PartialObjectMetadata

    if row.object.kind == kind.kind:
        return opened(kind, row.object.protobuf)
    try:
        return PartialObjectMetadata.FromString(row.object.protobuf)
    except DecodeError:
        raise Internal(_BROKEN) from None


def cell_text(cell: Any) -> str:
    """A cell as kubectl prints it: of several lines the first, with dots for the others."""
    match cell.WhichOneof("value"):
        case None:
            return ""
        case "text":
            line, *more = cell.text.translate(_BREAKS).split("\n", 1)
            return f"{line}..." if more else line
        case name:
            from pinnace.jsonpath import gotext

            return gotext.plain(getattr(cell, name))


@dataclass(frozen=True, slots=True)
class Layout:
    """What is shown of a table, and what besides: the namespace, a kind before each name, labels."""

    wide: bool = False
    namespace: bool = False
    prefix: str = ""
    labels: tuple[str, ...] = ()
    all_labels: bool = False

    @property
    def needs_metadata(self) -> bool:
        return self.namespace or bool(self.labels) or self.all_labels

    def header(self, columns: Sequence[Column]) -> list[str]:
        """Titles; that of a label is what follows its prefix."""
        shown = [column.title for column in columns if self.wide or not column.wide]
        labels = [name.rpartition("/")[2].upper() for name in self.labels]
        return [*(["NAMESPACE"] if self.namespace else []), *shown, *labels, *(["LABELS"] if self.all_labels else [])]

    def row(self, columns: Sequence[Column], row: Row) -> list[str]:
        """Texts, none of them empty, so that columns can be told apart by white space. Raises Internal without the metadata."""
        shown = [
            f"{self.prefix}{cell}" if column.named else cell
            for column, cell in zip(columns, row.cells, strict=True)
            if self.wide or not column.wide
        ]
        if self.needs_metadata:
            if row.item is None:
                raise Internal(_BROKEN)
            meta = row.item.metadata
            shown = [*([meta.namespace] if self.namespace else []), *shown, *self._labels(meta.labels)]
        return [text or NONE for text in shown]

    def _labels(self, labels: Any) -> Iterable[str]:
        yield from (labels.get(name, "") for name in self.labels)
        if self.all_labels:
            yield ",".join(f"{key}={value}" for key, value in sorted(labels.items()))

    def text(
        self, columns: Sequence[Column], rows: Iterable[Row], *, header: bool = True, widths: list[int] | None = None
    ) -> str:
        """`widths` as in `grow`."""
        lines = [self.row(columns, row) for row in rows]
        if header:
            lines.insert(0, self.header(columns))
        return render(lines, grow(widths, lines)) if lines else ""


def event_order(event: Any) -> tuple[int, int, int]:
    """Oldest first. Times are whole seconds; within one, the order in which the server learned of them."""
    return event.lastTimestamp.seconds, event.firstTimestamp.seconds, int(event.metadata.resourceVersion or 0)


def grow(widths: list[int] | None, rows: list[list[str]]) -> list[int] | None:
    """The caller's memory of a table that is printed row by row: at least as wide as these rows, never narrower."""
    if widths is not None and rows:
        known = widths or [0] * len(rows[0])
        widths[:] = [max(before, *(len(row[at]) for row in rows)) for at, before in enumerate(known)]
    return widths


def render(rows: list[list[str]], widths: list[int] | None = None) -> str:
    """Columns three spaces apart, as kubectl sets them. Control characters of a hostile object are not printed."""
    clean = [["".join(c if c.isprintable() else "?" for c in cell) for cell in row] for row in rows]
    sizes = widths or [max(len(row[index]) for row in clean) for index in range(len(clean[0]))]
    lines = ["   ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in clean]
    return "\n".join(lines)
