"""The layout of tables that the control plane rendered."""

from __future__ import annotations

from typing import Any

import pytest

from cli import tables
from cli.tables import Layout, Table
from pinnace import kinds
from pinnace.api.v1 import objects_pb2
from pinnace.errors import Internal
from pinnace.meta.v1.meta_pb2 import ObjectMeta, PartialObjectMetadata

COLUMNS = [{"name": "Name", "format": "name"}, {"name": "Pod Labels"}, {"name": "IP", "priority": 1}]
LABELS = {"app.kubernetes.io/name": "web", "a": "1"}


def message(*rows: list[Any], columns: list[dict[str, Any]] | None = COLUMNS, namespace: str = "team", **labels: str) -> Any:
    """A Table whose rows carry their metadata."""
    made = objects_pb2.Table(columnDefinitions=[objects_pb2.TableColumnDefinition(**column) for column in columns or ()])
    for row in rows:
        metadata = ObjectMeta(name=str(row[0]), namespace=namespace, labels=labels or LABELS)
        item = objects_pb2.Object(
            kind="PartialObjectMetadata", protobuf=PartialObjectMetadata(metadata=metadata).SerializeToString()
        )
        made.rows.add(cells=[cell(value) for value in row], object=item)
    return made


def cell(value: Any) -> objects_pb2.TableCell:
    field = {str: "text", bool: "boolean", int: "integer", float: "number"}.get(type(value))
    return objects_pb2.TableCell(**({field: value} if field else {}))


def table(*rows: list[Any]) -> Table:
    made = Table()
    made.take(kinds.POD, message(*rows))
    return made


def shown(layout: Layout, *rows: list[Any], **how: Any) -> list[list[str]]:
    """Cells of the text, which are three spaces apart."""
    made = table(*rows)
    return [
        [word.strip() for word in line.split("   ") if word]
        for line in layout.text(made.columns, made.rows, **how).splitlines()
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("web", "web"), ("", ""), (None, ""), (0, "0"), (-7, "-7"), (True, "true"), (False, "false"), (1.5, "1.5"), (5e10, "5e+10"), (3.0, "3"),
        ("one\ntwo", "one..."), ("one\rtwo", "one..."), ("one\ftwo", "one..."), ("one\n", "one..."),
    ],
)  # fmt: skip
def test_cells_are_printed_as_kubectl_does(value: Any, text: str) -> None:
    """Numbers by Go's rules; of several lines the first."""
    assert tables.cell_text(cell(value)) == text


def test_columns_of_more_detail_are_shown_on_demand() -> None:
    """By -o wide; titles are in capital letters, and no cell is empty."""
    rows = (["a", "x", "10.0.0.1"], ["b", None, ""])
    assert shown(Layout(), *rows) == [["NAME", "POD LABELS"], ["a", "x"], ["b", "<none>"]]
    assert shown(Layout(wide=True), *rows) == [["NAME", "POD LABELS", "IP"], ["a", "x", "10.0.0.1"], ["b", "<none>", "<none>"]]
    assert shown(Layout(), *rows, header=False) == [["a", "x"], ["b", "<none>"]]


def test_namespace_kind_and_labels_are_added() -> None:
    """-A, several kinds, -L, --show-labels: a label's title is its name without the prefix."""
    layout = Layout(namespace=True, prefix="pod/", labels=("app.kubernetes.io/name", "gone"), all_labels=True)
    assert shown(layout, ["a", "x", "y"]) == [
        ["NAMESPACE", "NAME", "POD LABELS", "NAME", "GONE", "LABELS"],
        ["team", "pod/a", "x", "web", "<none>", "a=1,app.kubernetes.io/name=web"],
    ]


@pytest.mark.parametrize(
    ("layout", "needs"), [(Layout(), False), (Layout(wide=True, prefix="pod/"), False), (Layout(namespace=True), True), (Layout(labels=("a",)), True), (Layout(all_labels=True), True)]
)  # fmt: skip
def test_metadata_is_read_only_where_it_is_shown(layout: Layout, needs: bool) -> None:
    """A plain table needs its cells alone."""
    assert layout.needs_metadata is needs


def test_later_tables_of_a_watch_have_the_columns_of_the_first() -> None:
    """They come without."""
    made = table(["a", "x", "y"])
    added = made.take(kinds.POD, message(["b", "x", "y"], columns=None))
    assert [row.cells[0] for row in added] == ["b"]
    assert [row.cells[0] for row in made.rows] == ["a", "b"]
    assert [column.title for column in made.columns] == ["NAME", "POD LABELS", "IP"]


def test_a_row_may_carry_the_object() -> None:
    """For --sort-by, and for the order of events."""
    pod = kinds.POD.cls(metadata={"name": "a"}, spec={"nodeName": "node-1"})
    sent = message(["a", "x", "y"])
    sent.rows[0].object.CopyFrom(objects_pb2.Object(apiVersion="v1", kind="Pod", protobuf=pod.SerializeToString()))
    made = Table()
    assert made.take(kinds.POD, sent)[0].item == pod


@pytest.mark.parametrize("fault", ["a cell too few", "a cell too many", "no columns", "broken metadata", "a broken object"])
def test_a_reply_that_is_no_table_is_an_error(fault: str) -> None:
    """Of a control plane of another version, or of none."""
    sent = message(["a", "x", "y"])
    match fault:
        case "a cell too few":
            del sent.rows[0].cells[0]
        case "a cell too many":
            sent.rows[0].cells.add()
        case "no columns":
            del sent.columnDefinitions[:]
        case _:
            sent.rows[0].object.protobuf = b"\xff"
            sent.rows[0].object.kind = "Pod" if fault == "a broken object" else "PartialObjectMetadata"
    with pytest.raises(Internal, match="is it of the same version"):
        Table().take(kinds.POD, sent)


def test_a_row_without_its_metadata_is_an_error() -> None:
    """Where a namespace or labels are to be shown."""
    sent = message(["a", "x", "y"])
    sent.rows[0].ClearField("object")
    made = Table()
    made.take(kinds.POD, sent)
    assert Layout().text(made.columns, made.rows).splitlines()[1] == "a      x"
    with pytest.raises(Internal):
        Layout(namespace=True).text(made.columns, made.rows)


def test_columns_never_get_narrower_in_a_watch() -> None:
    """A longer name moves those that follow, a shorter one none."""
    widths: list[int] = []
    made = table(["a-long-name", "x", "y"], ["b", "x", "y"])
    Layout().text(made.columns, made.rows[:1], widths=widths)
    assert Layout().text(made.columns, made.rows[1:], header=False, widths=widths) == "b             x"


def test_control_characters_of_a_name_reach_no_terminal() -> None:
    """An escape sequence in a hostile object is shown as question marks."""
    assert "\x1b" not in tables.render([["a\x1b[2Jb"]])
