"""kctl's tables and pages against a real lab, where a unit test could not see the whole of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.labs import LabUnderTest, pod, running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-e2e-output", tmp_path_factory.mktemp("lab"), nodes=1) as made:
        yield made


def test_custom_columns_sorting_and_labels(lab: LabUnderTest) -> None:
    """The columns that were asked for, in the order that was asked for."""
    for name, size in (("a", "10"), ("b", "9")):
        lab.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"size": size}}, "data": {"n": size}}
        )
    sorted_ = lab.kctl("get", "cm", "a", "b", "--sort-by=.data.n", "-o", "custom-columns=NAME:.metadata.name,N:.data.n")
    assert sorted_.splitlines() == ["NAME   N", "a      10", "b      9"]
    rows = lab.kctl("get", "cm", "a", "-L", "size", "--show-labels").splitlines()
    assert rows[0].split() == ["NAME", "DATA", "AGE", "SIZE", "LABELS"]
    assert rows[1].split()[-2:] == ["10", "size=10"]


def test_a_watch_begins_with_one_table(lab: LabUnderTest) -> None:
    """What is there is aligned by its longest name; an object that is not there is not waited for."""
    for name in ("x", "a-much-longer-name"):
        lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"watched": "yes"}}})
    command = [sys.executable, "-P", "-m", "cli.main", "get", "cm", "-l", "watched=yes", "-w"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=lab.environment) as watcher:
        assert watcher.stdout is not None
        lines = [watcher.stdout.readline() for _ in range(3)]
        watcher.send_signal(signal.SIGINT)
    assert watcher.returncode == 130
    assert len({line.index(word) for line, word in zip(lines, ("DATA", "0", "0"), strict=True)}) == 1
    missing = lab.run("get", "cm", "nope", "-w")
    assert (missing.returncode, missing.stderr) == (1, b'Error from server (NotFound): configmaps "nope" not found\n')


def test_logs_of_a_waiting_container_say_why(lab: LabUnderTest) -> None:
    """What is missing, or which init containers come first."""
    waiting = pod("waiting")
    waiting["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "missing"}}]
    lab.apply(waiting)
    lab.kctl(
        "wait", "pod/waiting", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError"
    )
    assert b'is waiting to start: configmap "missing" not found' in lab.run("logs", "waiting").stderr


def test_explain_describes_fields_and_says_what_is_refused(lab: LabUnderTest) -> None:
    """A field's page has its own description."""
    assert "<no description>" not in lab.kctl("explain", "pod.spec.containers.image")
    assert "Not supported by Pinnace yet" in lab.kctl("explain", "pod.spec.affinity")
    assert b'field "nope" does not exist in pod.spec' in lab.run("explain", "pod.spec.nope").stderr
