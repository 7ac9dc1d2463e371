"""`kctl tree`: rows of tables put together along owner references."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from cli import discovery, main
from cli.discovery import Served
from pinnace import kinds
from pinnace.api.v1 import objects_pb2
from pinnace.errors import Forbidden
from pinnace.kinds import Kind
from pinnace.meta.v1.meta_pb2 import ObjectMeta, PartialObjectMetadata

COLUMNS: dict[Kind, tuple[str, ...]] = {
    kinds.POD: ("Name", "Ready", "Status"), kinds.DEPLOYMENT: ("Name", "Ready"),
    kinds.REPLICA_SET: ("Name", "Desired", "Current", "Ready"), kinds.JOB: ("Name", "Status", "Completions"),
}  # fmt: skip


class Tables:
    """Tables of objects that are given as (kind, name, owner's name, cells), whose UIDs are their names."""

    def __init__(self, *rows: tuple[Kind, str, str, tuple[str, ...]], namespace: str = "default") -> None:
        self.context = SimpleNamespace(namespace=namespace)
        self.rows = rows
        self.listed: list[tuple[str, str]] = []
        self.hidden: Kind | None = None
        self.deleted = ""

    def now(self) -> float:
        return time.time()

    def list_tables(self, kind: Kind, namespace: str, options: Any) -> list[Any]:
        self.listed.append((kind.kind, namespace))
        if kind is self.hidden:
            raise Forbidden("not for you")
        columns = [{"name": name, "format": "name" if name == "Name" else ""} for name in COLUMNS.get(kind, ("Name",))]
        table = objects_pb2.Table(columnDefinitions=[objects_pb2.TableColumnDefinition(**column) for column in columns])
        for found, name, owner, cells in self.rows:
            if found is kind:
                meta = ObjectMeta(name=name, uid=name, namespace="default" if kind.namespaced else "")
                if name == self.deleted:
                    meta.deletionTimestamp.seconds = 1
                if owner:
                    meta.ownerReferences.add(uid=owner, name=owner)
                item = objects_pb2.Object(
                    kind="PartialObjectMetadata", protobuf=PartialObjectMetadata(metadata=meta).SerializeToString()
                )
                table.rows.add(cells=[objects_pb2.TableCell(text=cell) for cell in (name, *cells)], object=item)
        return [table]


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `kctl tree` on tables; returns stdout or, for a code that is not 0, stderr."""
    verbs = ("get", "list", "delete")
    served = [
        Served(kind, (), verbs, ())
        for kind in (kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.POD, kinds.NODE, kinds.LEASE, kinds.JOB)
    ]
    served.append(Served(kinds.POD_METRICS, (), ("get", "list"), ()))
    monkeypatch.setattr(discovery, "served", lambda: served)

    def run(tables: Tables, *words: str, code: int = 0) -> str:
        monkeypatch.setattr("cli.flags.client", lambda args: tables)
        assert main._exit_code(["tree", *words]) == code, capsys.readouterr()
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


def test_a_deployment_with_its_pods(tree: Any) -> None:
    """Owned by whatever they own; objects of others are not there. Cells are those of kctl get."""
    tables = Tables(
        (kinds.DEPLOYMENT, "web", "", ("2/2",)), (kinds.REPLICA_SET, "web-2", "web", ("1", "1", "1")),
        (kinds.REPLICA_SET, "web-1", "web", ("2", "2", "1")),
        (kinds.POD, "b", "web-1", ("0/1", "Pending")), (kinds.POD, "a", "web-1", ("1/1", "Running")),
        (kinds.POD, "c", "web-2", ("1/1", "Running")), (kinds.POD, "alone", "", ("1/1", "Running")),
    )  # fmt: skip
    lines = [line.split(None, 1)[1].rpartition(" ")[0].rstrip() for line in tree(tables, "deployment/web").splitlines()]
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "Deployment/web", "├─ReplicaSet/web-1", "│ ├─Pod/a", "│ └─Pod/b", "└─ReplicaSet/web-2", "└─Pod/c",
    ]  # fmt: skip
    assert lines[1].split() == ["Deployment/web", "2/2", "-"]
    assert lines[2].split() == ["├─ReplicaSet/web-1", "1/2", "-"]
    assert lines[4].split() == ["│", "└─Pod/b", "0/1", "Pending"]


def test_a_job_has_its_completions(tree: Any) -> None:
    """In the place of ready pods."""
    line = tree(Tables((kinds.JOB, "once", "", ("Running", "1/3"))), "job/once").splitlines()[1]
    assert line.split()[1:4] == ["Job/once", "1/3", "Running"]


def test_what_is_being_deleted_says_so(tree: Any) -> None:
    """Of kinds that have no status to show."""
    tables = Tables((kinds.DEPLOYMENT, "web", "", ("1/1",)))
    tables.deleted = "web"
    assert tree(tables, "deployment/web").splitlines()[1].split()[3] == "Terminating"


def test_only_what_can_be_owned_is_listed(tree: Any) -> None:
    """Of a namespaced object in its namespace; of a node in all of them. Computed objects never."""
    tables = Tables((kinds.DEPLOYMENT, "web", "", ("0/0",)), (kinds.NODE, "n", "", ()), (kinds.LEASE, "n-lease", "n", ()))
    tree(tables, "deploy", "web")
    assert sorted(tables.listed) == [(kind, "default") for kind in ("Deployment", "Job", "Lease", "Pod", "ReplicaSet")]
    tables.listed.clear()
    assert "└─Lease/n-lease" in tree(tables, "node", "n")
    assert sorted(tables.listed) == [(kind, "") for kind in ("Deployment", "Job", "Lease", "Node", "Pod", "ReplicaSet")]


def test_kinds_that_may_not_be_listed_are_left_out(tree: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With a warning."""
    tables = Tables((kinds.DEPLOYMENT, "web", "", ("0/0",)))
    tables.hidden = kinds.REPLICA_SET
    tree(tables, "deploy/web")
    tables.hidden = kinds.DEPLOYMENT
    assert "Warning: deployments.apps are left out: not for you" in tree(tables, "deploy/web", code=1)


def test_owners_in_a_circle_end_somewhere(tree: Any) -> None:
    """Each object once below another."""
    tables = Tables((kinds.POD, "a", "b", ("", "")), (kinds.POD, "b", "a", ("", "")))
    assert len(tree(tables, "pod/a").splitlines()) == 3


def test_objects_must_be_named_and_exist(tree: Any) -> None:
    """In one line."""
    assert tree(Tables(), "pods", code=1) == "error: specify TYPE NAME or TYPE/NAME: kctl tree deployment/web\n"
    assert tree(Tables(), "pod/none", code=1) == 'Error from server (NotFound): pods "none" not found\n'
