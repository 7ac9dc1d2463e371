"""Without a control plane the nodes do everything that they were told before, and agree with it when it is back."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from cli.lab import layout, processes
from tests.support.breaking import (
    COUNT,
    GATE,
    GATED,
    IDLE,
    counted,
    gated,
    goes_on,
    nothing_left,
    open_gate,
    pids,
    restarts,
    script,
    settle_in,
)
from tests.support.labs import LabUnderTest, eventually, running
from tests.support.traces import Traces, traces

pytestmark = pytest.mark.root
NODES = ("node-1", "node-2")
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
GATE_MOUNTS = [{"name": "gate", "mountPath": "/gate"}]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-rob-static", tmp_path_factory.mktemp("static"), nodes=len(NODES)) as found:
        settle_in(found)
        yield found


@pytest.fixture
def before(lab: LabUnderTest) -> Iterator[Traces]:
    found = traces(lab)
    yield found
    nothing_left(lab, found)


def ready(lab: LabUnderTest) -> bool:
    """Every node is Ready by what its agent of now said."""
    for item in lab.get("nodes")["items"]:
        condition = next(c for c in item["status"]["conditions"] if c["type"] == "Ready")
        assert condition["status"] == "True", item["metadata"]["name"]
    return True


def test_a_crashing_container_is_restarted_without_a_control_plane(lab: LabUnderTest, before: Traces) -> None:
    """The node knows the policy; the control plane learns of it afterwards."""
    lab.apply(gated("crash"), script("calm", COUNT))
    items = eventually(lambda: lab.all_running(["crash", "calm"]))
    calm = pids(lab, [items["calm"]])
    lab.kill("control")
    open_gate(lab, items["crash"])
    eventually(lambda: lab.state(items["crash"], number=1))
    lab.start_control()
    eventually(lambda: restarts(lab.pods()["crash"]) >= 1)
    last = lab.pods()["crash"]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 7
    found = lab.all_running(["calm"])
    assert pids(lab, found.values()) == calm
    goes_on(lab, "calm")


def test_an_agent_started_without_a_control_plane_takes_up_its_pods(lab: LabUnderTest, before: Traces) -> None:
    """It restarts what crashes, leaves alone what runs, and the control plane that returns changes neither."""
    names = ["calm-1", "calm-2", "calm-3", "crash"]
    lab.apply(*(script(name, COUNT) for name in names[:3]), gated("crash", terminationGracePeriodSeconds=1))
    items = eventually(lambda: lab.all_running(names))
    at_first = pids(lab, items.values())
    lab.kill("control")
    for node in NODES:
        lab.kill(node)
    open_gate(lab, items["crash"])
    eventually(lambda: (lab.bundle(items["crash"]) / "exit.json").exists())
    for node in NODES:
        lab.start_agent(node)
    # Nobody but the agent can have started this one.
    eventually(lambda: lab.state(items["crash"], number=1))
    lab.start_control()
    eventually(lambda: ready(lab))
    eventually(lambda: restarts(lab.pods()["crash"]) >= 1)
    for name in names[:3]:
        goes_on(lab, name)
    found = lab.all_running(names[:3])
    assert pids(lab, found.values()) == {name: at_first[name] for name in names[:3]}
    assert [restarts(item) for item in found.values()] == [0, 0, 0]


# Appends the token's hash to a file on disk, and "none" without one.
NOTE = f"{{ [ -e {TOKEN} ] && sha256sum < {TOKEN} || echo none; }} >> /gate/tokens"


def noted(lab: LabUnderTest, item: dict[str, Any]) -> list[str]:
    """The token of each run, by its hash."""
    path = lab.node_dir(item["spec"]["nodeName"]) / "pods" / item["metadata"]["uid"] / "volumes/gate/tokens"
    return path.read_text().splitlines() if path.exists() else []


def test_a_container_that_is_restarted_without_a_control_plane_has_its_token(lab: LabUnderTest, before: Traces) -> None:
    """By the agent that it was given to, and by one that has only the pod's volumes; it is not asked for."""
    subject = gated("holder", terminationGracePeriodSeconds=1)
    subject["spec"]["containers"][0]["command"][-1] = f"{NOTE}; {GATED}"
    lab.apply(subject)
    item = eventually(lambda: lab.all_running(["holder"]))["holder"]
    [first] = eventually(lambda: noted(lab, item))
    lab.kill("control")
    open_gate(lab, item)
    eventually(lambda: noted(lab, item)[1:])
    node = item["spec"]["nodeName"]
    lab.kill(node)
    runs = len(noted(lab, item))
    lab.start_agent(node)
    eventually(lambda: len(noted(lab, item)) > runs)
    lab.start_control()
    eventually(lambda: ready(lab))
    assert first != "none"
    assert set(noted(lab, item)) == {first}


def test_pods_on_two_nodes_reach_each_other_without_a_control_plane(lab: LabUnderTest, before: Traces) -> None:
    """An agent that starts alone programs the overlay from what it kept."""
    probe = "trap 'exit 0' TERM; while :; do ping -c 1 -W 1 $TARGET > /dev/null && echo reached; usleep 100000; done"
    lab.apply(script("server", IDLE, nodeName=NODES[0]))
    server = eventually(lambda: lab.all_running(["server"]))["server"]
    env = [{"name": "TARGET", "value": server["status"]["podIP"]}]
    lab.apply(script("client", probe, nodeName=NODES[1], container={"env": env}))
    client = eventually(lambda: lab.all_running(["client"]))["client"]
    log = lab.node_dir(NODES[1]) / "logs" / f"default_client_{client['metadata']['uid']}" / "main/0.log"
    eventually(lambda: log.read_text().count("reached"))
    lab.kill("control")
    for node in NODES:
        lab.kill(node)
        lab.start_agent(node)
    reached = log.read_text().count("reached")
    eventually(lambda: log.read_text().count("reached") > reached + 3)
    lab.start_control()
    eventually(lambda: ready(lab))


def test_pods_deleted_while_their_agent_is_away_go_when_it_is_back(lab: LabUnderTest, before: Traces) -> None:
    """Also those that were forgotten by force, and those of a control plane that was away meanwhile."""
    names = ["stays", "asked", "forced"]
    lab.apply(*(script(name, IDLE, nodeName=NODES[0]) for name in names))
    items = eventually(lambda: lab.all_running(names))
    at_first = pids(lab, items.values())
    lab.kill(NODES[0])
    lab.kctl("delete", "pod", "asked", "--wait=false")
    lab.kctl("delete", "pod", "forced", "--force")
    lab.kill("control")
    lab.start_agent(NODES[0])
    lab.start_control()
    eventually(lambda: set(lab.pods()) == {"stays"})
    folders = {item["metadata"]["uid"] for item in items.values()}
    pods = lab.node_dir(NODES[0]) / "pods"
    eventually(lambda: {path.name for path in pods.iterdir()} & folders == {items["stays"]["metadata"]["uid"]})
    assert pids(lab, [lab.pods()["stays"]]) == {"stays": at_first["stays"]}


def test_what_is_written_meanwhile_is_in_the_log(lab: LabUnderTest, before: Traces) -> None:
    """Neither agent nor control plane is needed to keep a container's output."""
    lab.apply(script("count", COUNT))
    item = eventually(lambda: lab.all_running(["count"]))["count"]
    node = item["spec"]["nodeName"]
    lab.kill("control")
    lab.kill(node)
    log = lab.node_dir(node) / "logs" / f"default_count_{item['metadata']['uid']}" / "main/0.log"
    size = log.stat().st_size
    eventually(lambda: log.stat().st_size > size + 2000)
    lab.start_agent(node)
    lab.start_control()
    goes_on(lab, "count")
    assert counted(lab, "count") > 30


def test_probes_go_on_without_a_control_plane(lab: LabUnderTest, before: Traces) -> None:
    """A container that is no longer alive is restarted, and the control plane learns of it afterwards."""
    probe = {"exec": {"command": ["test", "!", "-e", "/gate/open"]}, "periodSeconds": 1, "failureThreshold": 1}
    item = script("probed", IDLE, container={"livenessProbe": probe, "volumeMounts": GATE_MOUNTS}, **GATE)
    lab.apply(item)
    found = eventually(lambda: lab.all_running(["probed"]))["probed"]
    lab.kill("control")
    open_gate(lab, found)
    eventually(lambda: lab.state(found, number=1))
    lab.start_control()
    eventually(lambda: restarts(lab.pods()["probed"]) >= 1)


def reboot(lab: LabUnderTest, node: str) -> None:
    """What a machine has after a reboot: its disk, and neither processes nor mounts, devices or cgroups of ours."""
    record = layout.load(lab.name)
    processes.end(record, node)
    record.save()
    enter = ["nsenter", f"--net={record.namespace(node, 'net')}", f"--mount={record.namespace(node, 'mnt')}"]
    listed = subprocess.run([*enter, "cat", "/proc/self/mounts"], capture_output=True, text=True, check=True).stdout
    mounts = [line.split()[1] for line in listed.splitlines() if f"{lab.node_dir(node)}/" in line]
    for path in reversed(mounts):
        subprocess.run([*enter, "umount", "--lazy", path], check=True)
    links = subprocess.run([*enter, "ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"^\d+: ((?:pnc|pinnace)[^@:]*)", links, re.MULTILINE):
        subprocess.run([*enter, "ip", "link", "delete", name], check=False, capture_output=True)
    subprocess.run([*enter, "nft", "delete", "table", "inet", "pinnace"], check=True)
    subprocess.run([*enter, "sysctl", "--quiet", "--write", "net.ipv4.ip_forward=0"], check=True)
    for root in Path("/sys/fs/cgroup").iterdir():
        for base, _, _ in os.walk(root / record.cgroup(node), topdown=False):
            os.rmdir(base)


def test_a_machine_that_reboots_without_a_control_plane_takes_up_its_pods(lab: LabUnderTest, before: Traces) -> None:
    """From disk alone: the same pods, the same addresses, their volumes' content; restarted once, as after a crash."""
    text = "echo run >> /gate/runs; trap 'exit 0' TERM; sleep 100000 & wait"
    lab.apply(*(script(name, text, nodeName=NODES[0], container={"volumeMounts": GATE_MOUNTS}, **GATE) for name in ("a", "b")))
    items = eventually(lambda: lab.all_running(["a", "b"]))
    lab.kill("control")
    reboot(lab, NODES[0])
    lab.start_agent(NODES[0])
    for item in items.values():
        eventually(lambda item=item: lab.state(item, number=1))
    lab.start_control()
    eventually(lambda: all(restarts(item) == 1 for item in lab.pods().values()))
    found = eventually(lambda: lab.all_running(["a", "b"]))
    for name, item in found.items():
        assert item["status"]["podIP"] == items[name]["status"]["podIP"]
        eventually(lambda name=name: lab.kctl("exec", name, "--", "cat", "/gate/runs") == "run\nrun\n")


def test_a_pod_gets_its_token_after_a_reboot_when_the_control_plane_is_back(lab: LabUnderTest, before: Traces) -> None:
    """A token is in memory alone. Until then the pod runs without it, with the CA and its namespace, and its events say so."""
    text = f"{NOTE}; ls {TOKEN.parent} > /gate/files; {IDLE}"
    lab.apply(script("holder", text, nodeName=NODES[0], container={"volumeMounts": GATE_MOUNTS}, **GATE))
    item = eventually(lambda: lab.all_running(["holder"]))["holder"]
    eventually(lambda: noted(lab, item))
    lab.kill("control")
    reboot(lab, NODES[0])
    lab.start_agent(NODES[0])
    eventually(lambda: lab.state(item, number=1))
    assert eventually(lambda: noted(lab, item)[1:]) == ["none"]
    lab.start_control()
    token = eventually(lambda: lab.kctl("exec", "holder", "--", "cat", str(TOKEN)))
    assert "FailedToRetrieveServiceAccountToken" in eventually(lambda: lab.kctl("describe", "pod", "holder"))
    assert lab.kctl("exec", "holder", "--", "cat", "/gate/files").split() == ["ca.crt", "namespace"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["kubernetes.io"]["pod"]["uid"] == item["metadata"]["uid"]
    assert len(noted(lab, item)) == 2


def test_a_machine_that_reboots_starts_its_pods_with_their_tokens(lab: LabUnderTest, before: Traces) -> None:
    """While there is a control plane: they wait until the agent is connected."""
    names = ["a", "b", "c"]
    text = f"{NOTE}; {IDLE}"
    lab.apply(*(script(name, text, nodeName=NODES[0], container={"volumeMounts": GATE_MOUNTS}, **GATE) for name in names))
    items = eventually(lambda: lab.all_running(names))
    for item in items.values():
        eventually(lambda item=item: noted(lab, item))
    reboot(lab, NODES[0])
    lab.start_agent(NODES[0])
    for item in items.values():
        eventually(lambda item=item: noted(lab, item)[1:])
        assert "none" not in noted(lab, item)


def rebooted(name: str, policy: str = "Always", **spec: Any) -> dict[str, Any]:
    """A pod whose main container needs what its init container and its sidecar made in memory, as each says on disk."""
    volumes = [{"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}}]
    mounts = {"volumeMounts": [{"name": "memory", "mountPath": "/m"}, {"name": "disk", "mountPath": "/d"}]}
    note = "echo {0} >> /d/order; touch /m/{0}"
    sleep = "trap 'exit 0' TERM; sleep 100000 & wait"

    def container(title: str, text: str, **more: Any) -> dict[str, Any]:
        return {"name": title, "image": "busybox", "command": ["sh", "-c", text], **mounts, **more}

    item = script(name, "", nodeName=NODES[0], restartPolicy=policy, volumes=volumes, **spec)
    item["spec"]["initContainers"] = [
        container(
            "setup", f"{note.format('setup')}; ip route add blackhole 203.0.113.0/24", securityContext={"privileged": True}
        ),
        container("watch", f"{note.format('watch')}; {sleep}", restartPolicy="Always"),
        container("last", f"until [ -e /m/watch ]; do usleep 10000; done; {note.format('last')}"),
    ]
    item["spec"]["containers"] = [
        container("main", f"[ -e /m/last ] && ip route | grep blackhole && {note.format('main')}; {sleep}"),
        container("once", f"{note.format('once')}"),
    ]
    return item


def order(lab: LabUnderTest, item: dict[str, Any]) -> list[str]:
    """Which containers have begun, in their order, but for the one that ends at once."""
    path = lab.node_dir(NODES[0]) / "pods" / item["metadata"]["uid"] / "volumes/disk/order"
    return [word for word in path.read_text().split() if word != "once"] if path.exists() else []


ORDER = ["setup", "watch", "last", "main"]


def test_init_containers_run_again_after_a_reboot_and_not_after_the_agents_end(lab: LabUnderTest, before: Traces) -> None:
    """What they made in memory, of routes and mounts, is gone with the machine's memory; sidecars start in their place."""
    lab.apply(rebooted("anew", "OnFailure"), rebooted("never", "Never"))
    found = eventually(lambda: {name: lab.pods()[name] for name in ("anew", "never")})
    for item in found.values():
        eventually(lambda item=item: order(lab, item) == ORDER)
    lab.kill(NODES[0])
    lab.start_agent(NODES[0])
    lab.apply(script("marker", IDLE, nodeName=NODES[0]))
    eventually(lambda: lab.all_running(["marker"]))
    assert [order(lab, item) for item in found.values()] == [ORDER, ORDER]
    reboot(lab, NODES[0])
    lab.start_agent(NODES[0])
    eventually(lambda: order(lab, found["anew"]) == ORDER * 2)
    eventually(lambda: main_is_ready(lab.get("pod", "anew")))
    counts = {item["name"]: item["restartCount"] for item in statuses(lab.get("pod", "anew"))}
    assert counts == {"setup": 1, "watch": 1, "last": 1, "main": 1, "once": 0}
    assert "Pod sandbox changed" in lab.kctl("describe", "pod", "anew")
    eventually(lambda: lab.get("pod", "never")["status"]["phase"] == "Failed")
    assert {item["restartCount"] for item in statuses(lab.get("pod", "never"))} == {0}


def statuses(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [*item["status"]["initContainerStatuses"], *item["status"]["containerStatuses"]]


def main_is_ready(item: dict[str, Any]) -> bool:
    return item["status"]["phase"] == "Running" and next(s for s in statuses(item) if s["name"] == "main")["ready"] is True


def test_a_pod_that_loses_a_namespace_begins_anew(lab: LabUnderTest, before: Traces) -> None:
    """What still runs in it is stopped first: it could not be reached, and would run twice."""
    lab.apply(rebooted("holed", terminationGracePeriodSeconds=5))
    item = eventually(lambda: lab.pods()["holed"])
    eventually(lambda: order(lab, item) == ORDER)
    old = lab.state(item, "main")["pid"]
    lab.kill(NODES[0])
    record = layout.load(lab.name)
    net = lab.node_dir(NODES[0]) / "pods" / item["metadata"]["uid"] / "sandbox/ns/net"
    subprocess.run(["nsenter", f"--mount={record.namespace(NODES[0], 'mnt')}", "umount", "--lazy", str(net)], check=True)
    lab.start_agent(NODES[0])
    eventually(lambda: order(lab, item) == ORDER * 2)
    assert not Path(f"/proc/{old}").exists()
    eventually(lambda: main_is_ready(lab.get("pod", "holed")))
