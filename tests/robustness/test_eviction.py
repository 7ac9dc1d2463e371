"""A node that runs short of memory, disk or processes: who goes, who stays, what it says, and that it recovers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.breaking import nothing_left, script, settle_in
from tests.support.labs import SLEEP, LabUnderTest, eventually, running
from tests.support.traces import Traces, traces

pytestmark = pytest.mark.root
NODE = "node-1"
MEMORY: dict[str, Any] = {"name": "data", "emptyDir": {"medium": "Memory"}}
DISK: dict[str, Any] = {"name": "data", "emptyDir": {}}
AGENT = (
    "--capacity=memory=300Mi,ephemeral-storage=100Mi,pid=200",
    "--eviction-hard=memory.available<100Mi,nodefs.available<30Mi,pid.available<60",
    "--eviction-monitoring-interval=250ms", "--eviction-pressure-transition-period=3s",
    "--image-gc-min-age=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-evict", tmp_path_factory.mktemp("evict"), nodes=1, agent=AGENT) as found:
        settle_in(found)
        yield found


@pytest.fixture(autouse=True)
def before(lab: LabUnderTest) -> Iterator[Traces]:
    found = traces(lab)
    yield found
    nothing_left(lab, found)
    # The next test begins on a calm node.
    eventually(lambda: conditions(lab) == set() == taints(lab))


def conditions(lab: LabUnderTest) -> set[str]:
    """Of the node, those that hold, Ready excepted."""
    found = lab.get("node", NODE)["status"]["conditions"]
    return {item["type"] for item in found if item["status"] == "True"} - {"Ready"}


def taints(lab: LabUnderTest) -> set[str]:
    return {f"{item['key']}:{item['effect']}" for item in lab.get("node", NODE)["spec"].get("taints", [])}


def holder(name: str, mebibytes: int, volume: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A pod that fills a volume and then sleeps; `requests` and `limits` are its resources."""
    resources = {field: rest.pop(field) for field in ("requests", "limits") if field in rest}
    mounts = [{"name": "data", "mountPath": "/data"}]
    text = f"dd if=/dev/zero of=/data/x bs=1M count={mebibytes} 2>/dev/null; {SLEEP}"
    return script(name, text, volumes=[volume], container={"resources": resources, "volumeMounts": mounts}, **rest)


def evicted(lab: LabUnderTest, name: str) -> dict[str, Any]:
    """The status of a pod that was evicted."""
    status = lab.pods()[name]["status"]
    assert (status["phase"], status.get("reason")) == ("Failed", "Evicted"), status
    return dict(status)


def disruption(status: dict[str, Any]) -> dict[str, Any] | None:
    return next((item for item in status["conditions"] if item["type"] == "DisruptionTarget"), None)


def pid(lab: LabUnderTest, name: str) -> int:
    return int(lab.state(lab.all_running([name])[name])["pid"])


def test_who_asked_for_memory_keeps_it(lab: LabUnderTest) -> None:
    """The pod without a claim goes, at once and for good, and says why; the other one never notices."""
    lab.apply(holder("claimed", 90, MEMORY, requests={"memory": "120Mi"}))
    eventually(lambda: lab.all_running(["claimed"]))
    stays = pid(lab, "claimed")
    lab.apply(holder("greedy", 130, MEMORY))
    status = eventually(lambda: evicted(lab, "greedy"))
    assert status["message"].startswith("The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
    assert "Container main was using " in status["message"]
    assert "request is 0, has larger consumption of memory. " in status["message"]
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    found = disruption(status)
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "TerminationByKubelet")
    eventually(lambda: taints(lab) == {"node.kubernetes.io/memory-pressure:NoSchedule"})
    eventually(lambda: conditions(lab) == set())
    assert pid(lab, "claimed") == stays
    said = lab.kctl("events", "--for", "pod/greedy")
    assert "Evicted" in said
    assert "Evicted" in lab.kctl("get", "pod", "greedy")
    said = lab.kctl("describe", "node", NODE)
    for event in ("NodeHasInsufficientMemory", "EvictionThresholdMet", "NodeHasSufficientMemory"):
        assert event in said


def test_the_lower_priority_goes_first(lab: LabUnderTest) -> None:
    """Even when the other one uses more."""
    lab.apply({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000})
    lab.apply(holder("important", 110, MEMORY, priorityClassName="high"))
    eventually(lambda: lab.all_running(["important"]))
    stays = pid(lab, "important")
    lab.apply(holder("minor", 105, MEMORY))
    eventually(lambda: evicted(lab, "minor"))
    eventually(lambda: conditions(lab) == set())
    assert pid(lab, "important") == stays


def test_no_best_effort_pod_comes_to_a_node_under_pressure(lab: LabUnderTest) -> None:
    """Past the scheduler it is refused by the node; with the scheduler it waits, and comes when the pressure is over."""
    lab.apply(holder("system", 230, MEMORY, priorityClassName="system-cluster-critical"))
    eventually(lambda: lab.all_running(["system"]))
    eventually(lambda: taints(lab) == {"node.kubernetes.io/memory-pressure:NoSchedule"})
    lab.apply(script("waits", SLEEP), script("forced", SLEEP, nodeName=NODE))
    status = eventually(lambda: evicted(lab, "forced"))
    assert status["message"].startswith("Pod was rejected: The node had condition: [MemoryPressure]")
    assert disruption(status) is None
    assert "untolerated taint" in json.dumps(lab.pods()["waits"]["status"])
    # Critical pods stay, whatever the node lacks.
    assert pid(lab, "system")
    lab.kctl("delete", "pod", "system", "--now")
    eventually(lambda: lab.all_running(["waits"]))


def test_a_full_disk_takes_who_filled_it(lab: LabUnderTest) -> None:
    """The volume is given back, and with it the pressure goes."""
    lab.apply(holder("small", 5, DISK))
    eventually(lambda: lab.all_running(["small"]))
    stays = pid(lab, "small")
    lab.apply(holder("big", 80, DISK))
    status = eventually(lambda: evicted(lab, "big"))
    assert status["message"].startswith("The node was low on resource: ephemeral-storage. Threshold quantity: 30Mi")
    eventually(lambda: conditions(lab) == set())
    assert pid(lab, "small") == stays


def test_images_that_nothing_uses_go_first(lab: LabUnderTest, tmp_path: Path) -> None:
    """They give the disk back, and no pod has to."""
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    (rootfs / "filler").write_bytes(os.urandom(40 << 20))
    lab.kctl("image", "load", str(rootfs), "--name", "filler")
    assert "filler" in lab.kctl("image", "list")
    lab.apply(holder("calm", 35, DISK))
    eventually(lambda: lab.all_running(["calm"]))
    stays = pid(lab, "calm")
    eventually(lambda: "filler" not in lab.kctl("image", "list"))
    eventually(lambda: conditions(lab) == set())
    assert pid(lab, "calm") == stays


def test_a_pod_of_many_processes_goes_when_they_run_out(lab: LabUnderTest) -> None:
    """The one that has most of them."""
    lab.apply(script("few", SLEEP))
    eventually(lambda: lab.all_running(["few"]))
    lab.apply(script("many", f"i=0; while [ $i -lt 145 ]; do sleep 100 & i=$((i+1)); done; {SLEEP}"))
    status = eventually(lambda: evicted(lab, "many"))
    assert status["message"].startswith("The node was low on resource: pids. Threshold quantity: 60, available: ")
    eventually(lambda: conditions(lab) == set())
    assert lab.all_running(["few"])


@pytest.mark.shows("spec.volumes[].emptyDir.sizeLimit")
@pytest.mark.shows("spec.containers[].resources.limits")
def test_a_pod_over_its_own_storage_limits_goes_from_a_calm_node(lab: LabUnderTest) -> None:
    """Whichever limit it is; it is no disruption, and nobody else is concerned."""
    limits = {"ephemeral-storage": "2Mi"}
    layer = f"dd if=/dev/zero of=/x bs=1M count=4 2>/dev/null; {SLEEP}"
    roomy = {"ephemeral-storage": "50Mi"}
    container = {"name": "other", "image": "busybox", "command": ["sh", "-c", SLEEP], "resources": {"limits": roomy}}
    two = script("layer", layer, container={"resources": {"limits": limits}})
    two["spec"]["containers"].append({**container, "imagePullPolicy": "IfNotPresent"})
    talker = script("log", f"dd if=/dev/zero bs=1M count=3 2>/dev/null | tr '\\0' '\\n'; {SLEEP}",
                    container={"resources": {"limits": limits}})  # fmt: skip
    lab.apply(
        holder("volume", 4, {"name": "data", "emptyDir": {"sizeLimit": "2Mi"}}), holder("sum", 4, DISK, limits=limits),
        two, talker, holder("within", 4, {"name": "data", "emptyDir": {"sizeLimit": "20Mi"}}, limits=roomy),
    )  # fmt: skip
    messages = {
        "volume": 'Usage of EmptyDir volume "data" exceeds the limit "2Mi". ',
        "sum": "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
        "layer": 'Container main exceeded its local ephemeral storage limit "2Mi". ',
        "log": "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
    }
    for name, message in messages.items():
        status = eventually(lambda name=name: evicted(lab, name))
        assert (status["message"], disruption(status)) == (message, None)
    assert lab.all_running(["within"])
    assert conditions(lab) == set()


def test_files_of_the_node_that_a_container_may_write_count(lab: LabUnderTest) -> None:
    """They are mounted from the pod's directory, and in none of its layers and volumes."""
    paths = {
        "hosts": "/etc/hosts",
        "resolv": "/etc/resolv.conf",
        "hostname": "/etc/hostname",
        "message": "/dev/termination-log",
    }
    resources = {"limits": {"ephemeral-storage": "2Mi"}}
    for name, path in paths.items():
        text = f"dd if=/dev/zero of={path} bs=1M count=4 2>/dev/null; {SLEEP}"
        lab.apply(script(name, text, container={"resources": resources}))
    for name in paths:
        status = eventually(lambda name=name: evicted(lab, name))
        assert status["message"] == "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "


def test_an_eviction_outlives_the_agent(lab: LabUnderTest) -> None:
    """Killed in the midst of it, the agent that follows finishes what was begun and starts nothing again."""
    lab.apply(holder("greedy", 230, MEMORY), script("calm", SLEEP))
    record = eventually(lambda: next((lab.node_dir(NODE) / "pods").glob("*/eviction.json"), None))
    lab.kill(NODE)
    lab.start_agent(NODE)
    status = eventually(lambda: evicted(lab, "greedy"))
    assert json.loads(record.read_text())["reason"] == "Evicted"
    assert status["containerStatuses"][0].get("restartCount", 0) == 0
    eventually(lambda: lab.all_running(["calm"]))
    eventually(lambda: conditions(lab) == set())
