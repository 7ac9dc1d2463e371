"""Nodes that fail and return: their pods start elsewhere, and no identity of a StatefulSet ever runs twice."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from cli.lab import cgroups, freezing, layout, processes
from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root

# Nodes are lost soon, and their pods evicted as soon as that is known.
FAST = ("--heartbeat=1", "--node-grace=4", "--node-eviction-rate=10")
TOLERATIONS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
    for key in ("unreachable", "not-ready")
]
NODES = ("node-1", "node-2", "node-3")
# Writes down, some 50 times a second, which pod has the name: the order of lines in the file needs no clock.
RECORD = "trap 'exit 0' TERM; while :; do echo $UID_OF_POD >> /shared/$(hostname); usleep 20000; done"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-fail", tmp_path_factory.mktemp("fail"), arguments=FAST) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    """What a test that failed leaves is over before the next one."""
    yield
    lab.run("lab", "start", "--name", lab.name)
    lab.run("delete", "deployment,statefulset,pod", "--all", "--now")
    eventually(lambda: not lab.pods(), within=60)


def template(text: str, **container: Any) -> dict[str, Any]:
    """Of pods that are evicted one second after their node is lost."""
    spec = pod("any", "sh", "-c", text, tolerations=TOLERATIONS, container=container)["spec"]
    return {"metadata": {"labels": {"app": "web"}}, "spec": {**spec, "terminationGracePeriodSeconds": 1}}


def deployment(replicas: int = 3) -> dict[str, Any]:
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": template("trap 'exit 0' TERM; while :; do usleep 20000; done")}  # fmt: skip
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": body}


def stateful_set(shared: Path) -> dict[str, Any]:
    """One pod, `db-0`, that records itself in a directory which every node has."""
    env = [{"name": "UID_OF_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]
    made = template(RECORD, env=env, volumeMounts=[{"name": "shared", "mountPath": "/shared"}])
    # A token would be waited for, and with it the control plane.
    made["spec"]["automountServiceAccountToken"] = False
    made["spec"]["volumes"] = [{"name": "shared", "hostPath": {"path": str(shared), "type": "Directory"}}]
    body = {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "web"}}, "template": made}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": body}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    found = tmp_path / "shared"
    found.mkdir()
    return found


def runs(shared: Path) -> list[str]:
    """The pods that had the name, in the order in which they ran; one that ran again after another, or at once, is there twice."""
    path = shared / "db-0"
    return [uid for uid, _ in groupby(path.read_text().split())] if path.exists() else []


def is_ready(lab: LabUnderTest, node: str) -> str:
    conditions = lab.get("node", node)["status"]["conditions"]
    return str(next(item["status"] for item in conditions if item["type"] == "Ready"))


def live(lab: LabUnderTest) -> dict[str, dict[str, Any]]:
    """Pods that are Ready and not being deleted, by name."""
    found = {name: item for name, item in lab.pods().items() if "deletionTimestamp" not in item["metadata"]}
    return {name: item for name, item in found.items() if ready(item)}


def ready(item: dict[str, Any]) -> bool:
    conditions = item.get("status", {}).get("conditions", [])
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def elsewhere(lab: LabUnderTest, node: str, replicas: int = 3) -> bool:
    found = [item["spec"]["nodeName"] for item in live(lab).values()]
    return len(found) == replicas and node not in found


def start_web(lab: LabUnderTest) -> dict[str, Any]:
    """The pod of the deployment on node-1."""
    lab.apply(deployment())
    eventually(lambda: len(live(lab)) == 3)
    return next(item for item in live(lab).values() if item["spec"]["nodeName"] == "node-1")


def start_db(lab: LabUnderTest, shared: Path) -> dict[str, Any]:
    """The pod of the StatefulSet."""
    lab.apply(stateful_set(shared))
    eventually(lambda: live(lab) and runs(shared))
    return lab.pods()["db-0"]


def replace_by_force(lab: LabUnderTest, old: dict[str, Any]) -> None:
    """Of a pod on a lost node: it is not replaced until it is deleted by force; then it is, on another node."""
    eventually(lambda: "deletionTimestamp" in lab.pods()["db-0"]["metadata"], within=60)
    assert lab.pods()["db-0"]["metadata"]["uid"] == old["metadata"]["uid"]
    lab.kctl("delete", "pod", "db-0", "--force", "--grace-period=0")
    eventually(lambda: live(lab), within=60)
    new = lab.pods()["db-0"]
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert new["spec"]["nodeName"] != old["spec"]["nodeName"]


def nothing_of(lab: LabUnderTest, item: dict[str, Any]) -> bool:
    """Whether neither processes nor files of a pod are left on its node."""
    node, uid = item["spec"]["nodeName"], item["metadata"]["uid"]
    found = [path for folder in cgroups.folders(layout.load(lab.name), [node]) for path in folder.glob(f"**/pod{uid}")]
    return not found and not (lab.node_dir(node) / "pods" / uid).exists()


def test_pods_of_a_stopped_node_start_elsewhere_and_not_again_when_it_returns(lab: LabUnderTest) -> None:
    """The node is NotReady, and its pods are not Ready; the started node runs none of them and removes what they left."""
    old = start_web(lab)
    lab.lab("node", "stop", "node-1")
    eventually(lambda: is_ready(lab, "node-1") == "Unknown", within=60)
    eventually(lambda: not ready(lab.pods()[old["metadata"]["name"]]))
    eventually(lambda: elsewhere(lab, "node-1"), within=60)
    assert lab.lab("node", "start", "node-1") == "node/node-1 started\n"
    eventually(lambda: old["metadata"]["name"] not in lab.pods(), within=60)
    eventually(lambda: nothing_of(lab, old))
    assert is_ready(lab, "node-1") == "True"


def test_a_stopped_node_loses_what_is_in_its_memory(lab: LabUnderTest) -> None:
    """As in a power cut: emptyDirs in memory are empty afterwards, those on disk are not."""
    volumes = [{"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}}]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("memory", "disk")]
    lab.apply(pod("kept", nodeName="node-2", volumes=volumes, container={"volumeMounts": mounts}))
    eventually(lambda: lab.all_running(["kept"]))
    lab.kctl("exec", "kept", "--", "touch", "/memory/a", "/disk/a")
    lab.lab("node", "stop", "node-2")
    record = layout.load(lab.name)
    assert not processes.of_host(record, "node-2")
    assert not cgroups.folders(record, ["node-2"])
    lab.lab("node", "start", "node-2")
    eventually(lambda: lab.pods()["kept"]["status"]["containerStatuses"][0]["restartCount"] == 1, within=60)
    eventually(lambda: lab.all_running(["kept"]))
    assert lab.kctl("exec", "kept", "--", "sh", "-c", "ls /memory /disk").split() == ["/disk:", "a", "/memory:"]


def test_nothing_of_a_frozen_node_runs_until_it_is_thawed(lab: LabUnderTest, shared: Path) -> None:
    """Neither its agent nor its containers; both continue, and the pod is the same without a restart."""
    old = start_db(lab, shared)
    node = old["spec"]["nodeName"]
    lab.lab("node", "freeze", node)
    written = (shared / "db-0").stat().st_size
    eventually(lambda: is_ready(lab, node) == "Unknown", within=60)
    assert (shared / "db-0").stat().st_size == written
    assert "frozen" in next(line for line in lab.lab("status").splitlines() if line.startswith(node))
    # Before it is evicted.
    lab.lab("node", "thaw", node)
    eventually(lambda: is_ready(lab, node) == "True")
    eventually(lambda: (shared / "db-0").stat().st_size > written)


def test_a_thawed_node_does_not_run_a_pod_that_was_replaced(lab: LabUnderTest, shared: Path) -> None:
    """Its agent kills that before its containers continue: the identity is the new pod's alone."""
    old = start_db(lab, shared)
    lab.lab("node", "freeze", old["spec"]["nodeName"])
    replace_by_force(lab, old)
    new = eventually(lambda: runs(shared)[1:])
    assert lab.lab("node", "thaw", old["spec"]["nodeName"]).endswith(" thawed\n")
    eventually(lambda: nothing_of(lab, old))
    size = (shared / "db-0").stat().st_size
    eventually(lambda: (shared / "db-0").stat().st_size > size)
    assert runs(shared) == [old["metadata"]["uid"], *new]


def test_a_restarted_node_does_not_run_a_pod_that_was_replaced(lab: LabUnderTest, shared: Path) -> None:
    """Not even for the moment until its agent has heard of it: it has the pod's manifest on its disk."""
    old = start_db(lab, shared)
    lab.lab("node", "stop", old["spec"]["nodeName"])
    replace_by_force(lab, old)
    lab.lab("node", "start", old["spec"]["nodeName"])
    eventually(lambda: nothing_of(lab, old))
    size = (shared / "db-0").stat().st_size
    eventually(lambda: (shared / "db-0").stat().st_size > size)
    assert runs(shared) == [old["metadata"]["uid"], lab.pods()["db-0"]["metadata"]["uid"]]


def test_a_node_that_returns_without_a_control_plane_does_not_run_what_has_an_identity(lab: LabUnderTest, shared: Path) -> None:
    """It starts the pods of a Deployment, and the StatefulSet's only if they are still its own, once it hears so."""
    old = start_db(lab, shared)
    node = old["spec"]["nodeName"]
    lab.apply(pod("plain", nodeName=node, automountServiceAccountToken=False))
    eventually(lambda: lab.all_running(["plain"]))
    lab.lab("cut", node, "control-plane")
    lab.lab("node", "stop", node)
    replace_by_force(lab, old)
    assert lab.lab("node", "start", node) == f"node/{node} started\n"
    # It has taken up what it may.
    plain = lab.pods()["plain"]
    eventually(lambda: lab.state(plain, number=1), within=60)
    size = (shared / "db-0").stat().st_size
    eventually(lambda: (shared / "db-0").stat().st_size > size)
    assert len(runs(shared)) == 2
    lab.lab("heal")
    eventually(lambda: nothing_of(lab, old), within=60)
    assert runs(shared) == [old["metadata"]["uid"], lab.pods()["db-0"]["metadata"]["uid"]]


OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"


def test_pods_of_a_node_out_of_service_are_replaced_and_never_run_there_again(lab: LabUnderTest, shared: Path) -> None:
    """An administrator who knows that the node is off says so, and a StatefulSet's pod starts elsewhere."""
    old = start_db(lab, shared)
    node = old["spec"]["nodeName"]
    lab.lab("node", "stop", node)
    eventually(lambda: is_ready(lab, node) == "Unknown", within=60)
    lab.kctl("taint", "nodes", node, OUT_OF_SERVICE)
    new = eventually(lambda: runs(shared)[1:], within=60)
    lab.kctl("taint", "nodes", node, OUT_OF_SERVICE.split("=")[0] + ":NoExecute-")
    lab.lab("node", "start", node)
    eventually(lambda: nothing_of(lab, old))
    assert runs(shared) == [old["metadata"]["uid"], *new]


def serving(name: str, node: str) -> dict[str, Any]:
    return pod(name, "httpd", "-f", "-p", "80", nodeName=node, automountServiceAccountToken=False)


def serves(lab: LabUnderTest, address: str) -> bool:
    """Whether a pod on node-2 gets an answer of this one, 404 as it is."""
    command = f"wget -q -O - http://{address}/ 2>&1 | grep -q 404"
    return lab.run("exec", "client", "--", "timeout", "2", "sh", "-c", command).returncode == 0


def test_a_pod_that_was_removed_by_force_serves_nobody_when_its_node_returns(lab: LabUnderTest) -> None:
    """As a virtual machine that is resumed: its containers run before its agent, which then kills that one and no other."""
    lab.apply(serving("old", "node-1"), serving("kept", "node-1"), pod("client", nodeName="node-2"))
    found = eventually(lambda: lab.all_running(["old", "kept", "client"]))
    address = {name: found[name]["status"]["podIP"] for name in ("old", "kept")}
    eventually(lambda: serves(lab, address["old"]))
    lab.lab("node", "freeze", "node-1")
    eventually(lambda: is_ready(lab, "node-1") == "Unknown", within=60)
    lab.kctl("delete", "pod", "old", "--force", "--grace-period=0")
    freezing.thaw_containers(layout.load(lab.name), "node-1")
    eventually(lambda: "pinnace.dev/fenced" in lab.get("node", "node-1")["metadata"]["annotations"])
    eventually(lambda: not serves(lab, address["old"]))
    # It runs, as a pod on its own node would see.
    assert not nothing_of(lab, found["old"])
    lab.lab("node", "thaw", "node-1")
    eventually(lambda: nothing_of(lab, found["old"]))
    eventually(lambda: serves(lab, address["kept"]))
    assert not serves(lab, address["old"])
    assert "pinnace.dev/fenced" not in lab.get("node", "node-1")["metadata"]["annotations"]


def test_a_pod_that_is_cut_off_is_replaced_once_its_node_has_ended_it(lab: LabUnderTest, shared: Path) -> None:
    """Meanwhile it runs, as in Kubernetes: the node may be the only one that is right."""
    old = start_db(lab, shared)
    node = old["spec"]["nodeName"]
    assert lab.lab("cut", node, "control-plane") == f"node/{node} cut off from control-plane\n"
    eventually(lambda: "deletionTimestamp" in lab.pods()["db-0"]["metadata"], within=60)
    written = (shared / "db-0").stat().st_size
    eventually(lambda: (shared / "db-0").stat().st_size > written)
    assert lab.pods()["db-0"]["metadata"]["uid"] == old["metadata"]["uid"]
    assert lab.lab("heal") == f"node/{node} reconnected with control-plane\n"
    eventually(lambda: live(lab) and lab.pods()["db-0"]["metadata"]["uid"] != old["metadata"]["uid"], within=60)
    eventually(lambda: runs(shared)[1:])
    assert runs(shared) == [old["metadata"]["uid"], lab.pods()["db-0"]["metadata"]["uid"]]


def test_a_cut_between_two_nodes_is_of_their_pods_alone(lab: LabUnderTest) -> None:
    """Both stay Ready, and both reach the third."""
    lab.apply(*(pod(f"at-{node}", nodeName=node) for node in NODES))
    found = eventually(lambda: lab.all_running([f"at-{node}" for node in NODES]))
    address = {node: found[f"at-{node}"]["status"]["podIP"] for node in NODES}

    def reaches(one: str, other: str) -> bool:
        return lab.run("exec", f"at-{one}", "--", "ping", "-c", "1", "-W", "1", address[other]).returncode == 0

    eventually(lambda: reaches("node-1", "node-2"))
    lab.lab("cut", "node-1", "node-2")
    assert not reaches("node-1", "node-2")
    assert not reaches("node-2", "node-1")
    assert reaches("node-1", "node-3")
    assert reaches("node-3", "node-2")
    assert "node-1,node-2" in lab.lab("status")
    assert is_ready(lab, "node-1") == is_ready(lab, "node-2") == "True"
    lab.lab("heal", "node-2", "node-1")
    eventually(lambda: reaches("node-1", "node-2"))


def test_a_fault_is_reverted_when_its_time_is_over(lab: LabUnderTest) -> None:
    """kctl waits for that."""
    assert lab.lab("node", "freeze", "node-1", "--for", "1s") == "node/node-1 frozen\nnode/node-1 thawed\n"
    assert "FAULT" not in lab.lab("status")
    assert lab.lab("cut", "node-1", "node-2", "--for", "1s").endswith("node/node-1 reconnected with node/node-2\n")
    assert "FAULT" not in lab.lab("status")
    assert lab.lab("node", "stop", "node-1", "--for", "1s") == "node/node-1 stopped\nnode/node-1 started\n"
    assert is_ready(lab, "node-1") == "True"


def begin(lab: LabUnderTest, *arguments: str) -> subprocess.Popen[bytes]:
    """A fault with --for, once it is in effect."""
    command = lab.command("lab", *arguments, "--name", lab.name)
    process = subprocess.Popen(command, env=lab.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: lab.record["faults"], every=0.05)
    return process


def test_a_fault_is_reverted_though_kctl_was_killed(lab: LabUnderTest) -> None:
    """A process of the lab's own does it, which ends then."""
    process = begin(lab, "node", "freeze", "node-1", "--for", "3s")
    [fault] = lab.record["faults"]
    process.kill()
    process.communicate(timeout=60)
    assert lab.record["faults"] == [fault]
    eventually(lambda: not lab.record["faults"])
    eventually(lambda: not processes.alive(layout.Process(**fault["watchdog"])))
    eventually(lambda: is_ready(lab, "node-1") == "True")
    assert "running" in next(line for line in lab.lab("status").splitlines() if line.startswith("node-1"))


def test_a_fault_is_reverted_at_once_when_kctl_is_interrupted(lab: LabUnderTest) -> None:
    """Ctrl-C does not leave a frozen node behind, nor the process that was to thaw it."""
    process = begin(lab, "node", "freeze", "node-1", "--for", "10m")
    [fault] = lab.record["faults"]
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert output == b"node/node-1 frozen\nnode/node-1 thawed\n"
    assert process.returncode == 130
    assert not lab.record["faults"]
    assert not processes.alive(layout.Process(**fault["watchdog"]))


@pytest.mark.parametrize(("arguments", "message"), [
    (("node", "freeze", "node-9"), 'has no node "node-9"'),
    (("node", "thaw", "node-1"), 'node "node-1" is not frozen'),
    (("node", "start", "node-1"), 'node "node-1" is running'),
    (("cut", "node-1", "node-9"), 'has no host "node-9" (it has: node-1, node-2, node-3, control-plane)'),
    (("cut", "node-1", "node-1"), "cannot be cut off from itself"),
    (("heal", "node-1"), "node-1 is not cut off"),
    (("fill", "node-1"), "--disk-size"),
    (("node", "thaw", "node-1", "--for", "3s"), "--for is for stop, freeze, cut"),
    (("node", "freeze", "node-1", "--for", "0s"), "--for must be more than 0s"),
])  # fmt: skip
def test_a_fault_that_cannot_be_is_refused(lab: LabUnderTest, arguments: tuple[str, ...], message: str) -> None:
    result = lab.run("lab", *arguments, "--name", lab.name)
    assert result.returncode == 1
    assert message in result.stderr.decode()
    assert not lab.record["faults"]


def test_a_node_in_a_state_is_not_put_into_it_again(lab: LabUnderTest) -> None:
    """And a frozen one is not started; it can be stopped, and is not frozen any more when it starts."""
    lab.lab("node", "freeze", "node-1")
    assert b"is frozen already" in lab.run("lab", "node", "freeze", "node-1", "--name", lab.name).stderr
    assert b"is frozen: thaw it" in lab.run("lab", "node", "start", "node-1", "--name", lab.name).stderr
    lab.lab("node", "stop", "node-1")
    assert b"is stopped already" in lab.run("lab", "node", "stop", "node-1", "--name", lab.name).stderr
    assert b'node "node-1" is stopped' in lab.run("lab", "node", "freeze", "node-1", "--name", lab.name).stderr
    lab.lab("node", "start", "node-1")
    assert not lab.record["faults"]
    lab.lab("cut", "node-1")
    assert b"is cut off already" in lab.run("lab", "cut", "node-1", "--name", lab.name).stderr
    lab.lab("heal", "node-1")


def test_a_lab_that_is_started_has_no_faults(lab: LabUnderTest) -> None:
    """Whatever was in effect; a node that is removed takes its own along."""
    lab.lab("node", "add", "extra")
    lab.lab("node", "freeze", "extra")
    lab.lab("cut", "extra", "node-1")
    lab.lab("node", "remove", "extra")
    assert not lab.record["faults"]
    lab.lab("node", "freeze", "node-1")
    lab.lab("node", "stop", "node-2")
    lab.lab("cut", "node-3")
    assert len(lab.record["faults"]) == 3
    assert "started node-2" in lab.lab("start")
    assert not lab.record["faults"]
    for node in NODES:
        eventually(lambda node=node: is_ready(lab, node) == "True")


def test_a_lab_goes_down_with_every_fault_in_effect(tmp_path: Path) -> None:
    """Frozen, stopped and cut at once, and with a process that waits to revert one."""
    with running("t-faults", tmp_path, image=False) as lab:
        process = begin(lab, "node", "freeze", "node-1", "--for", "10m")
        [fault] = lab.record["faults"]
        lab.lab("node", "stop", "node-2")
        lab.lab("cut", "node-3")
    process.communicate(timeout=60)
    assert not processes.alive(layout.Process(**fault["watchdog"]))


SMALL = ("--disk-size", "400Mi")
SOON = ("--eviction-monitoring-interval=500ms", "--eviction-pressure-transition-period=2s")


def pressure(lab: LabUnderTest, node: str) -> str:
    conditions = lab.get("node", node)["status"]["conditions"]
    return str(next(item["status"] for item in conditions if item["type"] == "DiskPressure"))


def test_a_full_disk_is_of_its_node_alone_and_recovers(tmp_path: Path) -> None:
    """Writes fail, the node has DiskPressure and evicts, others do not; with room again it runs pods. Restarts keep the disk,
    and a lab that goes down with a full one leaves neither file nor loop device."""
    with running("t-disk", tmp_path, nodes=2, up=SMALL, agent=SOON) as lab:
        assert lab.get("node", "node-1")["status"]["capacity"]["ephemeral-storage"] != "0"
        lab.apply(pod("writer", nodeName="node-1"), pod("other", nodeName="node-2"))
        eventually(lambda: lab.all_running(["writer", "other"]))
        assert lab.lab("fill", "node-1") == "node/node-1 filled\n"
        # Blocks are reserved on its own disk alone.
        assert layout.load(lab.name).disk("node-1").stat().st_blocks * 512 < 100 << 20
        eventually(lambda: pressure(lab, "node-1") == "True")
        eventually(lambda: lab.pods()["writer"]["status"].get("reason") == "Evicted", within=60)
        assert pressure(lab, "node-2") == "False"
        lab.all_running(["other"])
        assert "fill" in lab.lab("status")
        assert b"is filled already" in lab.run("lab", "fill", "node-1", "--name", lab.name).stderr
        assert lab.lab("free", "node-1") == "node/node-1 freed\n"
        eventually(lambda: pressure(lab, "node-1") == "False", within=60)
        lab.apply(pod("later", nodeName="node-1"))
        eventually(lambda: lab.all_running(["later"]))
        lab.lab("stop")
        assert lab.name not in Path("/proc/self/mounts").read_text()
        lab.lab("start")
        eventually(lambda: lab.all_running(["later"]), within=60)
        lab.lab("fill", "node-2")
    assert not list(Path("/var/lib/pinnace/labs").glob(f"{lab.name}*"))


def test_containers_freeze_by_signal_where_there_is_no_freezer(
    lab: LabUnderTest, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On machines with cgroup v1 alone; all that they start meanwhile is stopped, too."""
    monkeypatch.setattr(freezing, "_freezers", lambda lab, node: [])
    old = start_db(lab, shared)
    record, node = layout.load(lab.name), old["spec"]["nodeName"]
    freezing.freeze(record, node)
    try:
        states = {processes.state(pid) for pid in [*processes.of_host(record, node), *cgroups.pids(record, node)]}
        # A process whose parent is stopped may have ended.
        assert "T" in states <= {"T", "Z"}
        written = (shared / "db-0").stat().st_size
        time.sleep(0.5)
        assert (shared / "db-0").stat().st_size == written
    finally:
        freezing.thaw_agent(record, node)
        freezing.thaw_containers(record, node)
    eventually(lambda: (shared / "db-0").stat().st_size > written)
    lab.all_running(["db-0"])
