"""Two hundred pods come and go, and the nodes are as they were: nothing in the kernel, nothing on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.breaking import IDLE, nothing_left, script, settle_in
from tests.support.labs import LabUnderTest, eventually, running
from tests.support.traces import descriptors, traces

pytestmark = pytest.mark.root
BATCHES, PER_BATCH = 4, 50
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"word": "here"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secrets"}, "stringData": {"word": "hidden"}}
VOLUMES: list[dict[str, Any]] = [
    {"name": "disk", "emptyDir": {}},
    {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"name": "words", "configMap": {"name": "words"}},
    {"name": "secrets", "secret": {"secretName": "secrets"}},
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-rob-leaks", tmp_path_factory.mktemp("leaks")) as found:
        found.apply(CONFIG, SECRET)
        settle_in(found)
        yield found


def sorts(prefix: str) -> list[dict[str, Any]]:
    """A batch of pods of every sort that leaves something else behind: five sorts, in turn."""
    mounts = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in VOLUMES]
    first = {"name": "first", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["true"]}
    items = []
    for number in range(PER_BATCH):
        name = f"{prefix}-{number}"
        items.append(
            [
                script(name, IDLE),
                script(name, f"echo x > /disk/x; echo x > /memory/x; {IDLE}", volumes=VOLUMES, container={"volumeMounts": mounts}),
                script(name, "sleep 100000 & exit 3", restartPolicy="OnFailure"),
                script(name, IDLE, initContainers=[first]),
                script(name, "exit 0", restartPolicy="Never", hostNetwork=number % 2 == 0),
            ][number % 5]
        )  # fmt: skip
    return items


def arrived(lab: LabUnderTest, count: int) -> bool:
    """Every pod has run: it does now, or has ended by itself."""
    found = lab.pods()
    assert len(found) == count
    for name, item in found.items():
        statuses = item.get("status", {}).get("containerStatuses", [])
        ran = [s for s in statuses if "containerID" in s]
        assert ran, (name, item.get("status"))
    return True


def test_two_hundred_pods_leave_nothing(lab: LabUnderTest) -> None:
    """Namespaces, mounts, cgroups, devices, rules, overlay entries, processes, files and descriptors: as before."""
    before = traces(lab)
    agents = {node: lab.pid(node) for node in ("node-1", "node-2", "node-3")}
    launchers = {node: lab.launcher(node) for node in agents}
    opened = {host: descriptors(pid) for host, pid in agents.items()}
    opened_by_launchers = {host: descriptors(pid) for host, pid in launchers.items()}
    for batch in range(BATCHES):
        lab.apply(*sorts(f"batch-{batch}"))
        eventually(lambda: arrived(lab, PER_BATCH), within=60)
        lab.kctl("delete", "pods", "--all", "--timeout", "60s")
    nothing_left(lab, before)
    assert {node: lab.launcher(node) for node in agents} == launchers

    def closed() -> bool:
        for node, pid in agents.items():
            assert not descriptors(pid) - opened[node]
            assert not descriptors(launchers[node]) - opened_by_launchers[node]
        return True

    eventually(closed)


def test_pods_deleted_before_they_run_leave_nothing(lab: LabUnderTest) -> None:
    """A deletion that overtakes the start, at whatever step it was."""
    before = traces(lab)
    for batch in range(2):
        lab.apply(*sorts(f"early-{batch}"))
        lab.kctl("delete", "pods", "--all", "--timeout", "60s", "--now")
    nothing_left(lab, before)


def test_forced_deletion_leaves_nothing(lab: LabUnderTest) -> None:
    """Pods that the control plane forgets at once are torn down by their nodes all the same."""
    before = traces(lab)
    lab.apply(*(script(f"forced-{n}", "trap '' TERM; while :; do sleep 1; done") for n in range(12)))
    eventually(lambda: lab.all_running([f"forced-{n}" for n in range(12)]))
    lab.kctl("delete", "pods", "--all", "--force")
    nothing_left(lab, before)
