"""Pods are resized while they run: the kernel's limits change, and the processes stay."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime import cgroupfiles
from nodeagent.runtime.cgroups import Cgroups
from tests.support.labs import SLEEP, LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
NODE = "node-1"
AGENT = (
    "--capacity=cpu=2,memory=400Mi", "--eviction-hard=memory.available<20Mi", "--eviction-monitoring-interval=10m",
)  # fmt: skip
MI = 1 << 20


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-rsz", tmp_path_factory.mktemp("resize"), nodes=1, agent=AGENT) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod", "--all", "--now")


def sized(name: str, *, requests: dict[str, str], limits: dict[str, str] | None = None, **container: Any) -> dict[str, Any]:
    resources = {"requests": requests, "limits": limits or {}}
    return pod(name, "sh", "-c", container.pop("script", SLEEP), container={"resources": resources, **container})


def resize(lab: LabUnderTest, name: str, **resources: dict[str, str]) -> str:
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    return lab.kctl("patch", "pod", name, "--subresource", "resize", "-p", json.dumps(patch))


def folders(lab: LabUnderTest, name: str, number: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cgroup of the pod and that of its container, in each hierarchy."""
    found = lab.get("pod", name)
    cgroups = Cgroups(f"pinnace-{lab.name}-{NODE}")
    path = cgroups.pod_path(found["metadata"]["uid"], found["status"]["qosClass"])
    return cgroups.folders(path), cgroups.folders(f"{path}/main-{number}")


def limits(lab: LabUnderTest, name: str, number: int = 0) -> list[tuple[int, int]]:
    """Memory in MiB and millicores that the kernel holds the pod and its container to."""
    return [
        (max(map(cgroupfiles.memory_limit, each)) // MI, max(map(cgroupfiles.cpu_limit, each)))
        for each in folders(lab, name, number)
    ]


def weight(folder: tuple[str, ...]) -> int:
    """In shares (v1) or as a weight (v2)."""
    files = [Path(each, name) for each in folder for name in ("cpu.shares", "cpu.weight")]
    return max(int(cgroupfiles.read(file) or 0) for file in files)


def status(lab: LabUnderTest, name: str) -> dict[str, Any]:
    return dict(lab.get("pod", name)["status"])


def conditions(lab: LabUnderTest, name: str) -> dict[str, dict[str, Any]]:
    return {item["type"]: item for item in status(lab, name).get("conditions", ()) if item["type"].startswith("PodResize")}


def settled(lab: LabUnderTest, name: str) -> dict[str, Any]:
    """The container's status once the resize is through."""
    found = lab.get("pod", name)
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert not conditions(lab, name)
    [own] = found["status"]["containerStatuses"]
    assert own["resources"] == found["spec"]["containers"][0]["resources"]
    assert own["allocatedResources"] == own["resources"]["requests"]
    return dict(own)


def reasons(lab: LabUnderTest, name: str) -> list[str]:
    uid = lab.get("pod", name)["metadata"]["uid"]
    found = [item["reason"] for item in lab.get("events")["items"] if item["involvedObject"].get("uid") == uid]
    return [reason for reason in found if reason.startswith("Resize")]


@pytest.mark.shows("spec.containers[].resizePolicy[].{resourceName,restartPolicy}")
def test_limits_change_and_the_process_stays(lab: LabUnderTest) -> None:
    """Up and down, of the container and of its pod, requests as well; no restart, and the status follows."""
    policy = [{"resourceName": name, "restartPolicy": "NotRequired"} for name in ("cpu", "memory")]
    requests, caps = {"cpu": "100m", "memory": "32Mi"}, {"cpu": "200m", "memory": "64Mi"}
    lab.apply(sized("web", requests=requests, limits=caps, resizePolicy=policy))
    found = eventually(lambda: lab.all_running(["web"]))["web"]
    assert limits(lab, "web") == [(64, 200), (64, 200)]
    pid, light = lab.state(found)["pid"], weight(folders(lab, "web")[1])
    for memory, cpu, asked in ((128, 500, "400m"), (48, 150, "50m"), (96, 1000, "300m")):
        resize(lab, "web", requests={"cpu": asked}, limits={"cpu": f"{cpu}m", "memory": f"{memory}Mi"})
        eventually(lambda memory=memory, cpu=cpu: limits(lab, "web") == [(memory, cpu), (memory, cpu)])
        own = eventually(lambda: settled(lab, "web"))
        assert (own["restartCount"], own["state"].keys()) == (0, {"running"})
    assert weight(folders(lab, "web")[1]) > light
    assert lab.state(lab.get("pod", "web"))["pid"] == pid
    os.kill(pid, 0)
    eventually(lambda: {"ResizeStarted", "ResizeCompleted"} == set(reasons(lab, "web")))


def test_a_limit_that_was_not_there_is_added(lab: LabUnderTest) -> None:
    """The pod has one once each of its containers has."""
    lab.apply(sized("web", requests={"cpu": "100m"}))
    eventually(lambda: lab.all_running(["web"]))
    assert limits(lab, "web") == [(0, 0), (0, 0)]
    resize(lab, "web", limits={"memory": "64Mi", "cpu": "300m"})
    eventually(lambda: limits(lab, "web") == [(64, 300), (64, 300)])
    eventually(lambda: settled(lab, "web"))


def test_a_resize_that_the_node_has_no_room_for_waits_or_is_refused(lab: LabUnderTest) -> None:
    """Infeasible: above what the node has at all. Deferred: until another pod gives back what it has. The container goes on
    with what it has."""
    lab.apply(sized("web", requests={"cpu": "100m"}), sized("big", requests={"cpu": "1500m"}))
    eventually(lambda: lab.all_running(["web", "big"]))
    resize(lab, "web", requests={"cpu": "3"})
    pending = eventually(lambda: conditions(lab, "web")["PodResizePending"])
    assert (pending["reason"], pending["message"], pending["observedGeneration"]) == (
        "Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000", 2
    )  # fmt: skip
    [own] = status(lab, "web")["containerStatuses"]
    assert (own["allocatedResources"], own["resources"]["requests"]) == ({"cpu": "100m"}, {"cpu": "100m"})
    resize(lab, "web", requests={"cpu": "1"})
    pending = eventually(lambda: conditions(lab, "web")["PodResizePending"])
    assert (pending["reason"], pending["message"]) == (
        "Deferred", "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    )  # fmt: skip
    resize(lab, "big", requests={"cpu": "900m"})
    eventually(lambda: settled(lab, "web"))
    assert weight(folders(lab, "web")[1]) > weight(folders(lab, "big")[1])
    eventually(lambda: {"ResizeInfeasible", "ResizeDeferred"} < set(reasons(lab, "web")))
    assert [item["restartCount"] for item in status(lab, "web")["containerStatuses"]] == [0]


def test_a_container_restarts_where_its_policy_says_so(lab: LabUnderTest) -> None:
    """For memory, and not for cpu; once, and with its new limits from the start."""
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    lab.apply(
        sized("web", requests={"cpu": "100m", "memory": "32Mi"}, limits={"cpu": "1", "memory": "64Mi"}, resizePolicy=policy)
    )
    eventually(lambda: lab.all_running(["web"]))
    resize(lab, "web", limits={"cpu": "500m"})
    assert eventually(lambda: settled(lab, "web"))["restartCount"] == 0
    resize(lab, "web", limits={"memory": "128Mi"})
    own = eventually(lambda: settled(lab, "web"))
    eventually(lambda: limits(lab, "web", 1) == [(128, 500), (128, 500)])
    own = eventually(lambda: lab.all_running(["web"]))["web"]["status"]["containerStatuses"][0]
    assert (own["restartCount"], own["lastState"]["terminated"]["exitCode"]) == (1, 0)
    assert "resize requires restart" in lab.kctl("events", "--for", "pod/web")


def test_memory_in_use_is_not_taken_from_a_container(lab: LabUnderTest) -> None:
    """The resize is at fault, and goes through once there is less in use; the container lives."""
    # 40 MiB in memory, until the file is gone.
    script = f"dd if=/dev/zero of=/dev/shm/ballast bs=1M count=40 2>/dev/null; {SLEEP}"
    lab.apply(sized("web", requests={"memory": "16Mi"}, limits={"memory": "128Mi"}, script=script))
    eventually(lambda: lab.all_running(["web"]))
    eventually(lambda: lab.kctl("exec", "web", "--", "stat", "-c", "%s", "/dev/shm/ballast").strip() == str(40 * MI))
    resize(lab, "web", limits={"memory": "24Mi"})
    fault = eventually(lambda: conditions(lab, "web")["PodResizeInProgress"])
    assert (fault["reason"], fault["status"]) == ("Error", "True")
    assert fault["message"].startswith("cannot decrease memory limits: [attempting to set pod memory limit (25165824) below")
    [own] = status(lab, "web")["containerStatuses"]
    assert (own["allocatedResources"]["memory"], own["resources"]["limits"]["memory"]) == ("16Mi", "128Mi")
    assert limits(lab, "web") == [(128, 0), (128, 0)]
    lab.kctl("exec", "web", "--", "rm", "/dev/shm/ballast")
    eventually(lambda: limits(lab, "web") == [(24, 0), (24, 0)], within=90)
    assert eventually(lambda: settled(lab, "web"))["restartCount"] == 0
    assert "ResizeError" in reasons(lab, "web")


def test_what_is_allocated_outlives_the_agent(lab: LabUnderTest) -> None:
    """Killed while resizes come in, and while one waits: another agent knows what each pod has, and finishes."""
    lab.apply(sized("web", requests={"cpu": "100m"}, limits={"memory": "64Mi"}), sized("big", requests={"cpu": "1500m"}))
    found = eventually(lambda: lab.all_running(["web", "big"]))
    pid = lab.state(found["web"])["pid"]
    resize(lab, "web", requests={"cpu": "1"})
    eventually(lambda: conditions(lab, "web")["PodResizePending"]["reason"] == "Deferred")
    lab.kill(NODE, signal.SIGKILL)
    resize(lab, "big", requests={"cpu": "1600m"})
    lab.start_agent(NODE)
    # What it was to have counts for nothing: the other one got it.
    eventually(lambda: settled(lab, "big"))
    assert conditions(lab, "web")["PodResizePending"]["reason"] == "Deferred"
    [own] = status(lab, "web")["containerStatuses"]
    assert own["allocatedResources"]["cpu"] == "100m"
    for count in range(3):
        resize(lab, "web", requests={"cpu": f"{200 + count}m"}, limits={"memory": f"{70 + count}Mi"})
        lab.kill(NODE, signal.SIGKILL)
        lab.start_agent(NODE)
        eventually(lambda: settled(lab, "web"))
        assert limits(lab, "web") == [(70 + count, 0), (70 + count, 0)]
    found = lab.get("pod", "web")
    assert (lab.state(found)["pid"], found["status"]["containerStatuses"][0]["restartCount"]) == (pid, 0)


def test_a_resize_outlives_the_control_plane(lab: LabUnderTest) -> None:
    """What was accepted is there after it, and what the agent did meanwhile."""
    lab.apply(sized("web", requests={"cpu": "100m"}, limits={"memory": "64Mi"}))
    eventually(lambda: lab.all_running(["web"]))
    resize(lab, "web", requests={"cpu": "200m"}, limits={"memory": "96Mi"})
    lab.kill("control", signal.SIGKILL)
    lab.start_control()
    eventually(lambda: settled(lab, "web"), within=60)
    assert limits(lab, "web") == [(96, 0), (96, 0)]


def test_kctl_edits_what_a_pod_has(lab: LabUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kctl edit --subresource resize`, and `get --subresource`."""
    lab.apply(sized("web", requests={"cpu": "100m"}))
    eventually(lambda: lab.all_running(["web"]))
    monkeypatch.setitem(lab.environment, "KUBE_EDITOR", "sed -i 's/cpu: 100m/cpu: 150m/'")
    assert lab.kctl("edit", "pod", "web", "--subresource", "resize") == "pod/web edited\n"
    assert lab.get("pod", "web", "--subresource", "resize")["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "150m"}
    eventually(lambda: settled(lab, "web"))
