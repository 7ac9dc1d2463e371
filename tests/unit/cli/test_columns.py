"""Tables: custom columns, sorting, label columns, and kubectl's count of restarts."""

from __future__ import annotations

from typing import Any

import pytest

from cli import customcolumns, tables
from pinnace import kinds
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


@pytest.mark.parametrize(
    "format_", ["custom-columns=", "custom-columns=NAME", "custom-columns=NAME:", "custom-columns=A:.a,:.b"]
)
def test_a_column_without_title_or_path_is_refused(format_: str) -> None:
    """The error shows the part and an example."""
    with pytest.raises(BadRequest, match=r"is not TITLE:PATH, such as NAME:\.metadata\.name"):
        customcolumns.parse(format_)


def test_sorting_puts_absent_first_and_numbers_by_value() -> None:
    """9 comes before 10; an object without the field before any that has it."""

    def by(path: str) -> list[str]:
        return [pod["metadata"]["name"] for pod in sorted(PODS, key=lambda pod: customcolumns.sort_key(path, pod))]

    assert by(".status.n") == ["b", "a"]
    assert by("{.spec.nodeName}") == ["a", "b"]


def _pod(*, initialized: bool) -> Any:
    pod = kinds.POD.cls()
    pod.metadata.name = "p"
    pod.metadata.labels["app.kubernetes.io/name"] = "web"
    pod.metadata.labels["a"] = "1"
    pod.spec.initContainers.add(name="wait")
    pod.spec.containers.add(name="c")
    pod.status.initContainerStatuses.add(name="wait", restartCount=3)
    pod.status.containerStatuses.add(name="c", restartCount=1)
    pod.status.conditions.add(type="Initialized", status="True" if initialized else "False")
    return pod


def _cell(title: str, pod: Any) -> str:
    return next(column for column in tables.COLUMNS["Pod"] if column.title == title).cell(pod, 0.0)


def test_restarts_are_of_init_containers_until_they_are_done() -> None:
    """A pod in Init:CrashLoopBackOff shows how often it tried; a pod that runs, how often its containers did."""
    assert _cell("RESTARTS", _pod(initialized=False)) == "3"
    assert _cell("RESTARTS", _pod(initialized=True)) == "1"


def test_labels_as_columns() -> None:
    """-L's title is the label's name without its prefix; --show-labels lists all, sorted."""
    columns = tables.label_columns(["app.kubernetes.io/name", "gone"], everything=True)
    assert [(column.title, column.cell(_pod(initialized=True), 0.0)) for column in columns] == [
        ("NAME", "web"), ("GONE", ""), ("LABELS", "a=1,app.kubernetes.io/name=web"),
    ]  # fmt: skip
