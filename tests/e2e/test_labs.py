"""Labs over time: resumed after a reboot and after crashes, and nodes that come later have the images of the others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.lab import cgroups, hosts, layout, processes
from tests.support import archives
from tests.support.archives import layer
from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-labs", tmp_path_factory.mktemp("labs"), nodes=2) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm", "--all", "--now")


def reboot(lab: LabUnderTest) -> None:
    """What a reboot takes: every process at once, the namespaces, and all of /run."""
    record = layout.load(lab.name)
    every = [*record.nodes, layout.CONTROL, layout.SWITCH]
    deadline = time.monotonic() + 20
    while pids := {pid for host in every for pid in [*processes.of_host(record, host), *cgroups.pids(record, host)]}:
        assert time.monotonic() < deadline, pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    hosts.remove_all(record)
    cgroups.remove(record, list(record.nodes))
    assert not record.run_dir.exists()
    # The record still names the processes of before.
    assert record.processes


def settled(lab: LabUnderTest, *names: str) -> dict[str, dict[str, Any]]:
    return eventually(lambda: lab.all_running(list(names)), within=60)


def test_a_lab_is_resumed_after_a_reboot(lab: LabUnderTest) -> None:
    """With its objects, images and pods, which run again and reach each other; the addresses of nodes stay."""
    names = ["one", "two"]
    lab.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}},
        *(pod(name, "httpd", "-f", "-p", "80", nodeName=f"node-{number}") for number, name in enumerate(names, 1)),
    )
    settled(lab, *names)
    nodes = {item["metadata"]["name"]: item["spec"]["podCIDR"] for item in lab.get("nodes")["items"]}
    reboot(lab)
    assert lab.run("get", "nodes").stderr.decode().strip().endswith(f"(kctl lab start --name {lab.name} resumes the lab)")
    listed = next(line for line in lab.kctl("lab", "list").splitlines() if line.startswith(lab.name))
    assert "Stopped" in listed
    said = lab.lab("start")
    assert "started control, node-1, node-2; 2 nodes Ready" in said
    assert lab.get("cm", "kept")["data"] == {"a": "b"}
    assert {item["metadata"]["name"]: item["spec"]["podCIDR"] for item in lab.get("nodes")["items"]} == nodes
    found = eventually(lambda: _restarted(lab, names), within=60)
    address = found["two"]["status"]["podIP"]
    # A server that has started may not listen yet.
    fetch = ("timeout", "5", "sh", "-c", f"wget -q -O - http://{address}/ 2>&1 | grep -q 404")
    eventually(lambda: lab.run("exec", "one", "--", *fetch).returncode == 0)


def _restarted(lab: LabUnderTest, names: list[str]) -> dict[str, dict[str, Any]]:
    found = lab.all_running(names)
    for name in names:
        assert found[name]["status"]["containerStatuses"][0]["restartCount"] > 0, found[name]["status"]
    return found


def test_start_starts_exactly_what_is_missing(lab: LabUnderTest) -> None:
    """Nothing when all runs; a control plane that was killed without touching pods; an agent alone, its containers kept."""
    lab.apply(pod("steady", nodeName="node-1"))
    before = settled(lab, "steady")["steady"]["status"]["containerStatuses"][0]
    record = dict(lab.record["processes"])
    assert "everything ran already" in lab.lab("start")
    assert lab.record["processes"] == record
    lab.kill(layout.CONTROL)
    assert "started control; 2 nodes Ready" in lab.lab("start")
    assert {key: value for key, value in lab.record["processes"].items() if key != layout.CONTROL} == {
        key: value for key, value in record.items() if key != layout.CONTROL
    }
    lab.kill("node-1")
    assert "started node-1; 2 nodes Ready" in lab.lab("start")
    assert lab.record["processes"]["node-2"] == record["node-2"]
    # An answer at once: the agent was waited for, not the condition that it had before.
    lab.kctl("exec", "steady", "--", "true")
    assert settled(lab, "steady")["steady"]["status"]["containerStatuses"][0] == before


def test_a_node_without_an_identity_joins_again(lab: LabUnderTest) -> None:
    """As after months of being off: its old certificate cannot be renewed, and nobody is asked for a token."""
    lab.lab("stop")
    for path in (lab.node_dir("node-2") / "pki").iterdir():
        path.unlink()
    assert "started control, node-1, node-2; 2 nodes Ready" in lab.lab("start")


def test_start_mends_a_lab_whose_record_is_behind(lab: LabUnderTest) -> None:
    """A control plane that runs but is not recorded is replaced and not doubled."""
    record = layout.load(lab.name)
    pid = record.processes.pop(layout.CONTROL).pid
    record.save()
    assert "started control" in lab.lab("start")
    assert processes.of_host(record, layout.CONTROL) == [lab.pid(layout.CONTROL)]
    assert lab.pid(layout.CONTROL) != pid


def test_start_rewires_a_lab_whose_network_is_gone(lab: LabUnderTest) -> None:
    """Namespaces unpinned under running processes: those end, and the lab runs again."""
    lab.apply(pod("wired", nodeName="node-2"))
    settled(lab, "wired")
    record = layout.load(lab.name)
    old = {host: lab.pid(host) for host in (layout.CONTROL, *record.nodes)}
    hosts.remove_all(record)
    assert "started control, node-1, node-2" in lab.lab("start")
    for pid in old.values():
        assert not processes.alive(layout.Process(pid, processes.start_time(pid)))
    eventually(lambda: _restarted(lab, ["wired"]), within=60)


def test_a_stopped_lab_takes_nothing_but_disk(lab: LabUnderTest) -> None:
    """No process, no namespace, no mount; and it resumes."""
    lab.apply(pod("sleeper"))
    settled(lab, "sleeper")
    assert f"`kctl lab start --name {lab.name}` resumes it" in lab.lab("stop") or "`kctl lab start` resumes it" in lab.lab(
        "stop"
    )
    record = layout.load(lab.name)
    assert not any(processes.of_host(record, host) for host in (*record.nodes, layout.CONTROL))
    assert lab.name not in Path("/proc/self/mounts").read_text()
    assert not record.run_dir.exists()
    lab.lab("start")
    eventually(lambda: _restarted(lab, ["sleeper"]), within=60)


def test_a_node_that_is_added_has_the_images_that_were_loaded(lab: LabUnderTest, tmp_path: Path) -> None:
    """Of every other node, each with all its names, by layers, of which it gets each once."""
    top = layer(("etc/motd", "x" * 1000))
    path = archives.oci(tmp_path / "only.tar", top, name="only:1")
    lab.kctl("image", "load", str(path), "--node", "node-2")
    said = lab.lab("node", "add")
    assert said == "node/node-3 added with busybox:latest, only:1\n"
    listed = lab.kctl("image", "list").splitlines()
    assert any(line.startswith("busybox") and "node-3" in line for line in listed)
    assert any(line.startswith("only:1") and line.endswith("node-2,node-3") for line in listed)
    # Loaded there too: a pod with the policy Always asks no registry.
    lab.apply(pod("late", nodeName="node-3", container={"imagePullPolicy": "Always"}))
    settled(lab, "late")
    lab.lab("node", "remove", "node-3")
    assert lab.lab("node", "add", "again").startswith("node/again added with busybox:latest, only:1")
    lab.lab("node", "remove", "again")


def test_an_image_that_cannot_be_copied_is_an_error(lab: LabUnderTest) -> None:
    """From no node that has it: the new node is added without. One that can give it away is enough."""
    lab.run("image", "rm", "only:1")
    configs = [next((lab.node_dir(node) / "images/images").glob("*.config")) for node in ("node-1", "node-2")]
    kept = [path.read_bytes() for path in configs]
    configs[0].unlink()
    try:
        assert lab.lab("node", "add") == "node/node-3 added with busybox:latest\n"
        lab.lab("node", "remove", "node-3")
        configs[1].unlink()
        result = lab.run("lab", "node", "add", "--name", lab.name)
        assert result.returncode == 1
        assert result.stdout == b"node/node-3 added\n"
        assert b"error: not copied to node-3: image busybox:latest: " in result.stderr
        lab.lab("node", "remove", "node-3")
    finally:
        for path, data in zip(configs, kept, strict=True):
            path.write_bytes(data)


def test_commands_about_one_lab_wait_for_each_other(lab: LabUnderTest) -> None:
    """Two at once lose nothing of what the other wrote."""
    command = ["lab", "node", "add", "--name", lab.name]
    first, second = (subprocess.Popen(lab.command(*command), env=lab.environment, stdout=subprocess.PIPE) for _ in range(2))
    said = b"".join(process.communicate(timeout=120)[0] for process in (first, second))
    assert (first.returncode, second.returncode) == (0, 0)
    assert b"node/node-3 added" in said
    assert b"node/node-4 added" in said
    assert set(lab.record["nodes"]) == {"node-1", "node-2", "node-3", "node-4"}
    for node in ("node-3", "node-4"):
        lab.lab("node", "remove", node)
