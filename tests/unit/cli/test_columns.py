"""Tables that the command line describes: custom columns, templates, sorting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli import customcolumns, output, sorting
from pinnace.errors import BadRequest

PODS: list[dict[str, Any]] = [
    {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "x"}, {"name": "y"}]}, "status": {"n": 10}},
    {"metadata": {"name": "b"}, "spec": {"containers": [{"name": "z"}], "nodeName": "node-1"}, "status": {"n": 9}},
]


def test_custom_columns_show_what_their_paths_find() -> None:
    """Several values with commas, `<none>` for nothing; braces and the first dot may be left out."""
    text = customcolumns.table("custom-columns=NAME:metadata.name,IN:{.spec.containers[*].name},ON:.spec.nodeName", PODS)
    assert text.splitlines() == ["NAME   IN    ON", "a      x,y   <none>", "b      z     node-1"]
    assert customcolumns.table("custom-columns=N:.metadata.name", PODS, header=False) == "a\nb"


@pytest.mark.parametrize("format_", ["custom-columns=NAME", "custom-columns=NAME:", "custom-columns=A:.a,:.b"])
def test_a_column_without_title_or_path_is_refused(format_: str) -> None:
    """The error shows the part and an example."""
    with pytest.raises(BadRequest, match=r"is not TITLE:PATH, such as NAME:\.metadata\.name"):
        customcolumns.parse(format_)


def test_a_column_prints_values_as_go_does() -> None:
    """Objects, lists and null by fmt's rules; a comma in brackets or quotes divides no columns."""
    document = {"m": {"b": 1, "a": "x"}, "l": [True, None], "z": None, "f": 5e10}
    text = customcolumns.table("custom-columns=M:.m,L:.l,Z:.z,F:f,U:.m['a','b'],I:.l[0,1]", [document], header=False)
    assert text.split("   ") == ["map[a:x b:1]", "[true <nil>]", "<nil>", "5e+10", "x,1", "true,<nil>"]


def test_columns_from_a_file(tmp_path: Path) -> None:
    """A line of titles and a line of paths; they have to be as many."""
    file = tmp_path / "columns"
    file.write_text("NAME      N\nmetadata.name  {.status.n}\n")
    assert customcolumns.table(f"custom-columns-file={file}", PODS) == "NAME   N\na      10\nb      9"
    file.write_text("NAME N\nmetadata.name\n")
    with pytest.raises(BadRequest, match=r"number of headers \(2\) and field specifications \(1\) don't match"):
        customcolumns.parse(f"custom-columns-file={file}")
    with pytest.raises(BadRequest, match="does not exist"):
        customcolumns.parse(f"custom-columns-file={tmp_path}/none")


def _sorted(values: list[Any], path: str = ".v") -> list[Any]:
    documents = [{} if value is ABSENT else {"v": value} for value in values]
    return [document.get("v", ABSENT) for document in sorting.by_path(documents, path, lambda item: item)]


ABSENT = object()


@pytest.mark.parametrize(
    "ordered",
    [
        [ABSENT, None, 9, 10, "a"], ["pod-9", "pod-10", "pod-100"], ["a", "a1", "a01x", "b"], ["500m", "1", "2", "1Ki", "1M"],
        ["2024-01-02T00:00:00Z", "2024-01-10T00:00:00Z"], [1, 1.5, 2], ["v1", "v1.2", "v1.10"], [False, True],
    ],
)  # fmt: skip
def test_sorting_orders_as_kubectl_does(ordered: list[Any]) -> None:
    """Absent first, numbers and quantities by value, text in natural order; whatever the order before."""
    assert _sorted(list(reversed(ordered))) == ordered
    assert _sorted(ordered) == ordered


def test_sorting_by_a_field_that_no_object_has_is_an_error() -> None:
    """As is one that leads to an object. One object needs no order."""
    with pytest.raises(BadRequest, match=r'couldn\'t find any field with path "\{\.nope\}"'):
        _sorted([1, 2], ".nope")
    with pytest.raises(BadRequest, match="leads to an object or a list"):
        _sorted([{}, {"a": 1}])
    assert _sorted([1], ".nope") == [1]


@pytest.mark.parametrize(
    ("format_", "said"),
    [
        ("go-template={{.kind}}", "kctl has no Go templates; use -o jsonpath"), ("go-template-file=x", "no Go templates"),
        ("jsonpath", "no template given"), ("jsonpath=", "no template given"), ("custom-columns", "no template given"),
        ("jsonpath-file=/nowhere", 'the path "/nowhere" does not exist'), ("jsonpath={.a", "unclosed action"), ("jsonpath-as-json={end}", "nothing to end"),
        ("xml", 'unable to match a printer suitable for the output format "xml", allowed formats are: json, yaml'), ("json=x", "unable to match"),
    ],
)  # fmt: skip
def test_an_output_format_is_refused_before_anything_is_done(format_: str, said: str) -> None:
    """The error says what there is."""
    with pytest.raises(BadRequest) as caught:
        output.check(format_)
    assert said in caught.value.message


def test_a_template_from_a_file(tmp_path: Path) -> None:
    """-o jsonpath-file; a template without braces is a path."""
    file = tmp_path / "template"
    file.write_text("{range .items[*]}{.metadata.name}{end}\n")
    assert output.structured(f"jsonpath-file={file}", PODS, single=False) == "ab\n"
    assert output.structured("jsonpath=items[0].metadata.name", PODS, single=False) == "a"
    assert output.structured("jsonpath-as-json={.status.n}", PODS[:1], single=True) == "[\n    10\n]\n"
