"""hostUsers: false: a pod whose root is nobody on the node, with its volumes and images as they are on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _clean(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.run("delete", "pod,cm,secret", "--all", "--now")


def running(lab: LabUnderTest, name: str, **spec: Any) -> dict[str, Any]:
    lab.apply(pod(name, hostUsers=False, **spec))
    lab.kctl("wait", f"pod/{name}", "--for=condition=Ready")
    return dict(lab.get("pod", name))


def inside(lab: LabUnderTest, name: str, script: str) -> str:
    return lab.kctl("exec", name, "--", "sh", "-c", script)


def ids_of(pid: int) -> tuple[int, int]:
    """First id and size of a process's user namespace."""
    words = Path(f"/proc/{pid}/uid_map").read_text().split()
    return int(words[1]), int(words[2])


@pytest.mark.shows("spec.hostUsers")
def test_each_pod_has_a_range_of_its_own(lab: LabUnderTest) -> None:
    """Root inside is an id of the pod's on the node; no two pods of a node share one."""
    firsts: dict[str, set[int]] = {}
    for number in range(4):
        found = running(lab, f"users-{number}")
        pid = lab.state(found)["pid"]
        first, size = ids_of(pid)
        assert size == 65536
        assert first % 65536 == 0
        assert first >= 65536
        assert os.stat(f"/proc/{pid}").st_uid == first
        taken = firsts.setdefault(found["spec"]["nodeName"], set())
        assert first not in taken
        taken.add(first)
        assert inside(lab, f"users-{number}", "id -u; id -g") == "0\n0\n"


def test_files_have_the_ids_that_they_have_on_disk(lab: LabUnderTest) -> None:
    """Images, emptyDir, configMap, secret and hostPath show root's files as root's, and what is written lies so on disk."""
    lab.kctl("create", "configmap", "files", "--from-literal=key=value")
    lab.kctl("create", "secret", "generic", "files", "--from-literal=key=hidden")
    sources = {
        "empty": {"emptyDir": {}}, "memory": {"emptyDir": {"medium": "Memory"}}, "map": {"configMap": {"name": "files"}},
        "secret": {"secret": {"secretName": "files"}}, "host": {"hostPath": {"path": "/etc"}},
    }  # fmt: skip
    mounts = [{"name": name, "mountPath": f"/v/{name}", "readOnly": name == "host"} for name in sources]
    volumes = [{"name": name, **source} for name, source in sources.items()]
    found = running(lab, "files", volumes=volumes, container={"volumeMounts": mounts})
    owners = inside(
        lab, "files", "stat -c %u /bin/busybox /v/map/key /v/secret/key /v/host/passwd /v/empty /v/memory / | xargs"
    )
    assert owners.split() == ["0"] * 7
    assert inside(lab, "files", "cat /v/map/key /v/secret/key") == "valuehidden"
    inside(lab, "files", "for d in empty memory; do echo x > /v/$d/new; done; echo x > /bin/new; chown 1000 /v/empty/new")
    volumes_dir = lab.node_dir(found["spec"]["nodeName"]) / "pods" / found["metadata"]["uid"] / "volumes"
    on_disk = next(volumes_dir.rglob("empty/new"), None) or next(volumes_dir.rglob("new"))
    assert on_disk.stat().st_uid == 1000
    first, _ = ids_of(lab.state(found)["pid"])
    assert (lab.bundle(found) / "upper/bin/new").stat().st_uid == first


def test_capabilities_are_over_what_is_the_pods(lab: LabUnderTest) -> None:
    """All of them: its own network may be changed, nothing of the node's."""
    found = running(
        lab, "mighty", container={"securityContext": {"capabilities": {"add": ["NET_ADMIN", "SYS_ADMIN", "SYS_TIME"]}}}
    )
    script = (
        "ip link add d0 type bridge && echo made; hostname mine && hostname; date -s 2001-01-01 2>&1 | grep -q 'set date' && echo no time; "
        "mount -o remount,rw /proc/sys 2>/dev/null || echo locked; umount /proc/keys 2>/dev/null || echo masked"
    )
    assert inside(lab, "mighty", script).split("\n") == ["made", "mine", "no time", "locked", "masked", ""]
    assert lab.state(found)["pid"]


@pytest.mark.shows("spec.containers[].securityContext.procMount")
def test_unmasked_proc_allows_namespaces_inside(lab: LabUnderTest) -> None:
    """procMount Unmasked and Unconfined: a container makes a namespace with a /proc of its own, as nested runtimes do."""
    free = {"type": "Unconfined"}
    context = {"procMount": "Unmasked", "seccompProfile": free, "appArmorProfile": free}
    running(lab, "nested", container={"securityContext": context})
    said = inside(lab, "nested", "unshare -U -r -m -p -f sh -c 'mount -t proc proc /proc && echo $$'")
    assert said == "1\n"


def test_the_range_outlives_the_agent(lab: LabUnderTest) -> None:
    """A new agent finds the pod's range, and a container that restarts has the ids its files have."""
    found = running(
        lab, "lasting", container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, volumes=[{"name": "v", "emptyDir": {}}]
    )
    node = found["spec"]["nodeName"]
    before = ids_of(lab.state(found)["pid"])
    lab.kill(node)
    lab.start_agent(node)
    inside_pid = lab.state(found)["pid"]
    os.kill(inside_pid, 9)
    eventually(lambda: lab.get("pod", "lasting")["status"]["containerStatuses"][0]["restartCount"] == 1)
    eventually(lambda: ids_of(lab.state(found, number=1)["pid"]) == before)


def test_processes_are_shared_in_a_user_namespace(lab: LabUnderTest) -> None:
    """hostUsers and shareProcessNamespace together."""
    running(lab, "both", shareProcessNamespace=True)
    assert inside(lab, "both", "cat /proc/1/comm; id -u").split() == ["pause", "0"]
