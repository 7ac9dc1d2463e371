"""What pods may use of a node: cgroups by class, limits, and the ways in which a container can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime.cgroups import Cgroups
from tests.support.labs import SLEEP, LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
NODE = "node-1"
# Grows until somebody stops it; `tail` keeps the last line, and /dev/zero has only one.
HOG = "tail /dev/zero"
AGENT = (
    "--capacity=cpu=2,memory=400Mi", "--system-reserved=cpu=200m,memory=50Mi", "--kube-reserved=memory=50Mi",
    "--eviction-hard=memory.available<20Mi", "--pod-max-pids=64", "--max-pods=12",
    # Out of the way: these tests are about the kernel.
    "--eviction-monitoring-interval=10m",
)  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-res", tmp_path_factory.mktemp("resources"), nodes=1, agent=AGENT) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


@pytest.fixture
def cgroups(lab: LabUnderTest) -> Cgroups:
    return Cgroups(f"pinnace-{lab.name}-{NODE}")


def limited(name: str, script: str, **rest: Any) -> dict[str, Any]:
    """A pod whose container runs `script`; `limits` and `requests` are its resources."""
    resources = {field: rest.pop(field) for field in ("limits", "requests") if field in rest}
    return pod(name, "sh", "-c", script, container={"resources": resources}, **rest)


def ended(lab: LabUnderTest, name: str) -> tuple[str, int]:
    """Reason and code of the container's end."""
    status = lab.get("pod", name)["status"]["containerStatuses"][0]
    found = (status["state"] if "terminated" in status["state"] else status["lastState"])["terminated"]
    return found["reason"], found["exitCode"]


def value(cgroups: Cgroups, path: str, controller: str, v1: str, v2: str) -> str:
    """A file of the cgroup at `path`."""
    for folder in cgroups.folders(path):
        if cgroups.unified or f"/{controller}/" in folder:
            return (Path(folder) / (v2 if cgroups.unified else v1)).read_text().strip()
    raise AssertionError(controller)


def memory(cgroups: Cgroups, path: str) -> int:
    return int(value(cgroups, path, "memory", "memory.limit_in_bytes", "memory.max"))


# The ways to be killed


@pytest.mark.shows("spec.containers[].resources.limits")
def test_a_container_over_its_memory_limit_is_oom_killed(lab: LabUnderTest) -> None:
    """By the kernel, with 137; another one of the pod goes on."""
    item = limited("hog", HOG, limits={"memory": "20Mi"}, restartPolicy="Never")
    item["spec"]["containers"].append({**item["spec"]["containers"][0], "name": "calm", "command": ["sh", "-c", SLEEP]})
    lab.apply(item)
    eventually(lambda: ended(lab, "hog") == ("OOMKilled", 137))
    assert "running" in lab.get("pod", "hog")["status"]["containerStatuses"][1]["state"]


def test_a_kill_from_elsewhere_is_no_oom(lab: LabUnderTest) -> None:
    """The same signal and code, another reason."""
    lab.apply(limited("victim", SLEEP, limits={"memory": "20Mi"}, restartPolicy="Never"))
    item = eventually(lambda: lab.all_running(["victim"]))["victim"]
    os.kill(lab.state(item)["pid"], signal.SIGKILL)
    eventually(lambda: ended(lab, "victim") == ("Error", 137))


def test_a_container_that_resists_its_end_is_no_oom(lab: LabUnderTest) -> None:
    """It is killed for having had its time."""
    lab.apply(limited("stubborn", "trap '' TERM; while :; do sleep 10; done", activeDeadlineSeconds=1,
                      terminationGracePeriodSeconds=1, restartPolicy="Never"))  # fmt: skip
    eventually(lambda: ended(lab, "stubborn") == ("Error", 137))


def test_an_exit_with_the_code_of_a_kill_is_what_it_is(lab: LabUnderTest) -> None:
    """Programs may say 137 too."""
    lab.apply(limited("says", "exit 137", restartPolicy="Never"))
    eventually(lambda: ended(lab, "says") == ("Error", 137))


def test_a_shell_whose_child_was_oom_killed_ends_oom_killed(lab: LabUnderTest) -> None:
    """As it passes the code on."""
    lab.apply(limited("parent", f"{HOG}; exit $?", limits={"memory": "20Mi"}, restartPolicy="Never"))
    eventually(lambda: ended(lab, "parent") == ("OOMKilled", 137))


def test_a_child_that_was_oom_killed_ends_alone_or_with_its_container(lab: LabUnderTest, cgroups: Cgroups) -> None:
    """On v2 the container goes as a whole. On v1 it may live on, and a kill long after is no OOM."""
    lab.apply(limited("lives", f"{HOG}; echo child $?; {SLEEP}", limits={"memory": "20Mi"}, restartPolicy="Never"))
    if cgroups.unified:
        eventually(lambda: ended(lab, "lives") == ("OOMKilled", 137))
        return
    eventually(lambda: "child 137" in lab.kctl("logs", "lives"))
    item = lab.all_running(["lives"])["lives"]
    # Longer than an end could be the kernel's delayed doing (oom.SHORTLY).
    log = eventually(lambda: lab.kctl("exec", "lives", "--", "sh", "-c", "sleep 6; echo later"))
    assert "later" in log
    os.kill(lab.state(item)["pid"], signal.SIGKILL)
    eventually(lambda: ended(lab, "lives") == ("Error", 137))


def test_a_pod_without_limits_is_held_by_the_node(lab: LabUnderTest) -> None:
    """All pods together may use what is not reserved; whoever has no claim is taken first, and the others go on."""
    claim = {"memory": "30Mi"}
    lab.apply(limited("claimed", SLEEP, requests=claim, limits=claim))
    before = eventually(lambda: lab.all_running(["claimed"]))["claimed"]
    lab.apply(limited("hog", HOG, restartPolicy="Never"))
    eventually(lambda: ended(lab, "hog") == ("OOMKilled", 137))
    assert lab.state(lab.all_running(["claimed"])["claimed"]) == lab.state(before)


# Cgroups


@pytest.mark.shows("spec.containers[].resources.requests")
def test_classes_have_their_places_weights_and_limits(lab: LabUnderTest, cgroups: Cgroups) -> None:
    """Guaranteed pods beside the two other classes; a pod's limit is the sum of its containers'."""
    same = {"cpu": "500m", "memory": "32Mi"}
    lab.apply(
        limited("guaranteed", SLEEP, limits=same), limited("burstable", SLEEP, requests={"cpu": "250m"}),
        limited("best", SLEEP),
    )  # fmt: skip
    items = eventually(lambda: lab.all_running(["guaranteed", "burstable", "best"]))
    uids = {name: item["metadata"]["uid"] for name, item in items.items()}
    assert cgroups.list() == {f"pod{uids['guaranteed']}", f"burstable/pod{uids['burstable']}", f"besteffort/pod{uids['best']}"}
    # 400Mi less what is reserved, and less a twentieth for the monitors.
    assert memory(cgroups, "") == 280 << 20
    assert memory(cgroups, f"pod{uids['guaranteed']}") == memory(cgroups, f"pod{uids['guaranteed']}/main-0") == 32 << 20
    quota = value(cgroups, f"pod{uids['guaranteed']}", "cpu", "cpu.cfs_quota_us", "cpu.max")
    assert quota.split()[0] == "50000"
    shares = {path: int(value(cgroups, path, "cpu", "cpu.shares", "cpu.weight")) for path in ("burstable", "besteffort")}
    assert shares == ({"burstable": 10, "besteffort": 1} if cgroups.unified else {"burstable": 256, "besteffort": 2})
    assert value(cgroups, f"burstable/pod{uids['burstable']}", "pids", "pids.max", "pids.max") == "64"
    lab.kctl("delete", "pod", "--all", "--now")
    eventually(lambda: not any(Path(folder).exists() for folder in cgroups.folders("")))


def test_processes_of_one_pod_are_bounded(lab: LabUnderTest) -> None:
    """Together, however many containers it has."""
    lab.apply(limited("bomb", "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; " + SLEEP, restartPolicy="Never"))
    eventually(lambda: "can't fork" in lab.kctl("logs", "bomb"))
    assert "running" in lab.get("pod", "bomb")["status"]["containerStatuses"][0]["state"] or ended(lab, "bomb")[0] == "Error"


def test_an_agent_that_starts_again_knows_its_cgroups(lab: LabUnderTest, cgroups: Cgroups) -> None:
    """Whatever their class; deleted pods leave none of it."""
    lab.apply(limited("a", SLEEP, requests={"cpu": "100m"}), limited("b", SLEEP))
    before = eventually(lambda: lab.all_running(["a", "b"]))
    paths = cgroups.list()
    lab.kill(NODE)
    lab.start_agent(NODE)
    lab.apply(limited("c", SLEEP, requests={"cpu": "100m"}))
    after = eventually(lambda: lab.all_running(["a", "b", "c"]))
    assert cgroups.list() > paths
    for name in ("a", "b"):
        assert lab.state(before[name]) == lab.state(after[name])
    lab.kctl("delete", "pod", "--all", "--now")
    eventually(lambda: cgroups.list() == set())


# What the node has, and whom it refuses


def test_a_node_tells_what_it_has_and_what_is_taken(lab: LabUnderTest) -> None:
    """Allocatable is less than the capacity by what is reserved, for monitors too, and what eviction keeps free."""
    lab.apply(limited("a", SLEEP, requests={"cpu": "450m", "memory": "30Mi"}, limits={"memory": "60Mi"}))
    eventually(lambda: lab.all_running(["a"]))
    status = lab.get("node", NODE)["status"]
    assert (status["capacity"]["cpu"], status["capacity"]["memory"]) == ("2", f"{400 << 10}Ki")
    assert (status["allocatable"]["cpu"], status["allocatable"]["memory"]) == ("1800m", f"{260 << 10}Ki")
    assert status["allocatable"]["pods"] == "12"
    conditions = {item["type"]: item["status"] for item in status["conditions"]}
    assert conditions == {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
    said = lab.kctl("describe", "node", NODE)
    words = [line.split() for line in said.partition("Allocated resources:")[2].splitlines()]
    assert ["cpu", "450m", "(25%)", "0", "(0%)"] in words, said
    assert ["memory", "30Mi", "(11%)", "60Mi", "(23%)"] in words, said


def test_what_does_not_fit_is_refused_at_the_node(lab: LabUnderTest) -> None:
    """A pod that names its node itself, past the scheduler: it fails with the reason, and never runs."""
    lab.apply(limited("big", SLEEP, requests={"cpu": "3"}, nodeName=NODE))
    item = eventually(lambda: (found := lab.get("pod", "big"))["status"]["phase"] == "Failed" and found)
    text = "Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 1800"
    assert (item["status"]["reason"], item["status"]["message"]) == ("OutOfcpu", text)
    assert "containerStatuses" not in item["status"]
    assert "OutOfcpu" in lab.kctl("get", "pod", "big")
    lab.kctl("delete", "pod", "big")
