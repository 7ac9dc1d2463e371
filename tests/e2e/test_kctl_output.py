"""kctl's tables and pages against a real lab, where a unit test could not see the whole of it."""

from __future__ import annotations

import json
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
    assert sorted_.splitlines() == ["NAME   N", "b      9", "a      10"]
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


def test_a_pod_with_a_completed_container_is_not_ready(lab: LabUnderTest) -> None:
    """STATUS says NotReady while another container runs, and wait sees the same object as get."""
    both = pod("half", restartPolicy="Never")
    both["spec"]["containers"].append({**both["spec"]["containers"][0], "name": "short", "command": ["true"]})
    lab.apply(both)
    done = '{.status.containerStatuses[?(@.name=="short")].state.terminated.reason}'
    assert lab.kctl("wait", "pod/half", f"--for=jsonpath={done}=Completed") == "pod/half condition met\n"
    assert lab.kctl("get", "pod", "half").splitlines()[1].split()[:3] == ["half", "1/2", "NotReady"]
    assert lab.kctl("wait", "pod/half", "--for=condition=Ready=false", "--timeout=0") == "pod/half condition met\n"
    assert (
        lab.kctl("get", "pod", "half", "-o", "jsonpath-as-json={.metadata['name','namespace']}")
        == '[\n    "half",\n    "default"\n]\n'
    )


def test_a_wait_ends_when_its_object_is_deleted(lab: LabUnderTest) -> None:
    """With NotFound for a condition and success for the deletion itself; nothing to delete is success too."""
    lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "brief"}})
    conditions = ["--for=create", "--for=jsonpath={.data.never}"]
    command = [sys.executable, "-P", "-m", "cli.main", "wait", "cm/brief", *conditions, "--timeout=60s"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=lab.environment) as waiter:
        assert waiter.stdout is not None
        # It has seen the object, and waits for the other condition.
        assert waiter.stdout.readline() == "configmap/brief condition met\n"
        lab.kctl("delete", "cm", "brief")
        _, said = waiter.communicate(timeout=30)
    assert (waiter.returncode, said) == (1, 'Error from server (NotFound): configmaps "brief" not found\n')
    assert lab.kctl("wait", "cm/brief", "--for=delete") == ""
    assert lab.kctl("wait", "cm", "-l", "none=here", "--for=delete") == ""
    assert lab.run("wait", "cm", "-l", "none=here", "--for=condition=Ready").stderr == b"error: no matching resources found\n"


@pytest.mark.parametrize(
    ("flag", "suffix"), [("client", "(dry run)"), ("server", "(server dry run)"), ("", "(server dry run)")]
)
def test_a_dry_run_says_so_and_changes_nothing(lab: LabUnderTest, flag: str, suffix: str) -> None:
    """delete, patch, create and apply; an object that is not there is an error as without it."""
    lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dry"}, "data": {"a": "1"}})
    dry = f"--dry-run={flag}" if flag else "--dry-run"
    version = lab.get("cm", "dry")["metadata"]["resourceVersion"]
    assert lab.kctl("delete", "cm", "dry", dry) == f'configmap "dry" deleted {suffix}\n'
    assert lab.kctl("delete", "cm", "dry", "--force", dry) == f'configmap "dry" force deleted {suffix}\n'
    assert lab.kctl("patch", "cm", "dry", "-p", '{"data": {"a": "2"}}', dry) == f"configmap/dry patched {suffix}\n"
    assert json.loads(lab.kctl("patch", "cm", "dry", "-p", '{"data": {"a": "2"}}', "-o", "json", dry))["data"] == {"a": "2"}
    assert lab.kctl("create", "cm", "other", dry) == f"configmap/other created {suffix}\n"
    manifest = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dry"}, "data": {"a": "3"}})
    assert lab.kctl("apply", "-f", "-", dry, stdin=manifest).endswith(f"{suffix}\n")
    assert lab.get("cm", "dry")["metadata"]["resourceVersion"] == version
    assert b'configmaps "other" not found' in lab.run("delete", "cm", "other", dry).stderr
    invalid = lab.run("create", "-f", "-", dry, stdin=manifest.replace('"data"', '"date"'))
    assert (invalid.returncode, invalid.stdout) == (1, b"")


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
    assert "Not supported by Pinnace yet" in lab.kctl("explain", "pod.spec.schedulingGroup")
    assert b'field "nope" does not exist in pod.spec' in lab.run("explain", "pod.spec.nope").stderr
