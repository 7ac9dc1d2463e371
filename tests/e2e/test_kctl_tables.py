"""kctl's tables and discovery against a control plane process: columns come from the server, their layout from kctl."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.customkinds import crontab, definition
from tests.support.planes import Plane

Run = Callable[..., subprocess.CompletedProcess[str]]
COLUMNS = [
    {"name": "Schedule", "type": "string", "jsonPath": ".spec.cronSpec"},
    {"name": "Missing", "type": "string", "jsonPath": ".spec.image"},
    {"name": "Made", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """With a custom kind in the category `all` and objects in two namespaces."""
    made = Plane(tmp_path_factory.mktemp("plane") / "state", store="memory")
    made.start()
    try:
        custom = definition(additionalPrinterColumns=COLUMNS, versions=("v1", "v2"))
        custom["spec"]["names"]["categories"] = ["all", "cron"]
        maps = [_config("b", "default", "9"), _config("a", "default", "10"), _config("far", "team", "1")]
        team = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        items = [team, custom, crontab(cronSpec="* * * * *"), pod, *maps]
        done = subprocess.run(
            _words(made, "apply", "-f", "-"), input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), text=True,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.stop()


def _config(name: str, namespace: str, size: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace, "labels": {"example.com/size": size}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"n": size}}


def _words(plane: Plane, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli.main", *arguments, "--config", str(plane.folder / "admin.yaml")]


@pytest.fixture
def kctl(plane: Plane) -> Run:
    def run(*arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(_words(plane, *arguments), capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done

    return run


def table(text: str) -> list[list[str]]:
    return [[word.strip() for word in line.split("  ") if word] for line in text.splitlines()]


def test_columns_are_those_of_the_kind(kctl: Run) -> None:
    """More of them with -o wide; a cell without a value is filled."""
    assert table(kctl("get", "pods").stdout)[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    header, row = table(kctl("get", "pod", "web", "-o", "wide").stdout)
    assert header[5:] == ["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]
    assert (row[:4], row[5:]) == (["web", "0/1", "Pending", "0"], ["<none>"] * 4)
    header, row = table(kctl("get", "ct").stdout)
    assert (header, row) == (["NAME", "SCHEDULE", "MISSING"], ["backup", "* * * * *", "<none>"])
    assert table(kctl("get", "ct", "-o", "wide", "--no-headers").stdout)[0][3].endswith("s")


def test_rows_of_all_namespaces_have_theirs(kctl: Run) -> None:
    """Also of one custom kind; labels as columns, objects in the order of a field."""
    found = table(
        kctl(
            "get", "cm", "-A", "-l", "example.com/size", "-L", "example.com/size", "--sort-by", ".data.n", "--no-headers"
        ).stdout
    )
    assert [(row[0], row[1], row[4]) for row in found] == [("team", "far", "1"), ("default", "b", "9"), ("default", "a", "10")]
    assert table(kctl("get", "ct", "-A").stdout)[1][:2] == ["default", "backup"]
    assert (
        kctl("get", "cm", "far", "-n", "team", "--show-labels", "--no-headers").stdout.rstrip().endswith("example.com/size=1")
    )
    assert table(kctl("get", "ns", "-A").stdout)[0] == ["NAME", "STATUS", "AGE"]


def test_several_kinds_are_several_tables(kctl: Run) -> None:
    """With the kind before each name; a category stands for its kinds."""
    pods, services, crontabs = kctl("get", "all").stdout.split("\n\n")
    assert [row[0] for row in table(pods)] == ["NAME", "pod/web"]
    assert [row[0] for row in table(services)] == ["NAME", "service/kubernetes"]
    assert [row[0] for row in table(crontabs)] == ["NAME", "crontab.stable.example.com/backup"]
    assert table(kctl("get", "cron").stdout)[1][0] == "backup"
    names = kctl("get", "all", "-o", "name").stdout.splitlines()
    assert names == ["pod/web", "service/kubernetes", "crontab.stable.example.com/backup"]
    named = kctl("get", "pod/web", "cm/a", "cm/none", fails=True)
    assert [row[0] for row in table(named.stdout) if row] == ["NAME", "pod/web", "NAME", "configmap/a"]
    assert named.stderr == 'Error from server (NotFound): configmaps "none" not found\n'
    assert kctl("get", "secrets").stderr == "No resources found in default namespace.\n"


def test_a_watch_prints_a_row_for_each_change(kctl: Run, plane: Plane) -> None:
    """The header once, with the first row, even if nothing was there at first."""
    with subprocess.Popen(_words(plane, "get", "cm", "-l", "new=yes", "-A", "-w"), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        kctl("create", "configmap", "one", "-n", "team")
        kctl("patch", "cm", "one", "-n", "team", "-p", '{"metadata":{"labels":{"new":"yes"}}}')
        assert watch.stdout.readline().split() == ["NAMESPACE", "NAME", "DATA", "AGE"]
        assert watch.stdout.readline().split()[:3] == ["team", "one", "0"]
        kctl("patch", "cm", "one", "-n", "team", "-p", '{"data":{"a":"1"}}')
        assert watch.stdout.readline().split()[:3] == ["team", "one", "1"]
        kctl("delete", "cm", "one", "-n", "team")
        assert watch.stdout.readline().split()[:3] == ["team", "one", "1"]
        watch.terminate()


def test_more_objects_than_a_page_are_all_shown(kctl: Run, plane: Plane) -> None:
    """kctl asks for five hundred at a time."""
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{at:04}", "labels": {"many": "yes"}}}
        for at in range(501)
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = subprocess.run(
        _words(plane, "apply", "-f", "-"), input=text, text=True, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = table(kctl("get", "cm", "-l", "many=yes", "--no-headers").stdout)
    assert [row[0] for row in rows] == [f"m{at:04}" for at in range(501)]


def test_resources_are_listed_from_discovery(kctl: Run) -> None:
    """With verbs and categories on demand, and selected by them; of each kind the preferred version."""
    lines = {row[0]: row for row in table(kctl("api-resources", "-o", "wide").stdout)}
    assert lines["NAME"] == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", "VERBS", "CATEGORIES"]
    assert lines["crontabs"] == [
        "crontabs", "ct", "stable.example.com/v2", "true", "CronTab", "create,delete,deletecollection,get,list,patch,update,watch", "all,cron",
    ]  # fmt: skip
    assert lines["pods"][1:5] == ["po", "v1", "true", "Pod"]
    names = kctl("api-resources", "--categories", "all", "-o", "name").stdout.split()
    assert names == [
        "pods",
        "replicationcontrollers",
        "services",
        "daemonsets.apps",
        "deployments.apps",
        "replicasets.apps",
        "statefulsets.apps",
        "horizontalpodautoscalers.autoscaling",
        "cronjobs.batch",
        "jobs.batch",
        "crontabs.stable.example.com",
    ]
    scoped = kctl("api-resources", "--namespaced=false", "--api-group", "", "--no-headers", "--verbs", "list,watch").stdout
    assert [row[0] for row in table(scoped)] == ["namespaces", "nodes", "persistentvolumes"]
