"""A file system that does not answer: the pods that name it wait, and nobody else does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs /dev/fuse for a file system that hangs"),
]
# More than there ever are threads for paths of a node.
HUNG = 72
# A file system whose server never answers; it ends with this process.
MOUNT = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
os.makedirs(sys.argv[1], exist_ok=True)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
assert libc.mount(b"hung", sys.argv[1].encode(), b"fuse", 0, options) == 0, ctypes.get_errno()
print("mounted", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-hung", tmp_path_factory.mktemp("hung"), nodes=1) as found:
        yield found


@pytest.fixture
def hung(lab: LabUnderTest, tmp_path: Path) -> Iterator[Path]:
    """The path of such a file system in the node's mount namespace."""
    path = tmp_path / "hung"
    enter = ["nsenter", f"--mount=/run/pinnace/labs/{lab.name}/ns/node-1.mnt", "--wd=/"]
    server = subprocess.Popen([*enter, sys.executable, "-c", MOUNT, str(path)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"mounted\n"
    yield path
    server.kill()
    server.communicate(timeout=10)
    subprocess.run([*enter, "umount", "--lazy", str(path)], check=True, timeout=20)


def _on_node(path: Path, **source: str) -> dict[str, Any]:
    """A pod's volume at a path of the node, and its mount."""
    mounted = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    return {"volumes": [{"name": "data", "hostPath": {"path": str(path), **source}}], "container": mounted}


def test_pods_with_a_hung_host_path_delay_no_others(lab: LabUnderTest, hung: Path, tmp_path: Path) -> None:
    """More of them than there are threads for them; starts, ends and deletions of others go on, and theirs too. Those of others
    with paths of the node that answer do as well."""
    stuck = [f"stuck-{number}" for number in range(HUNG)]
    lab.apply(*(pod(name, **_on_node(hung / name, type="Directory")) for name in stuck))
    eventually(lambda: all(item["status"].get("phase") == "Pending" for item in lab.pods().values()))
    for number in range(3):
        free, healthy = f"free-{number}", f"healthy-{number}"
        lab.apply(pod(free, volumes=[{"name": "cache", "emptyDir": {}}]), pod(healthy, **_on_node(tmp_path / f"{number}")))
        eventually(lambda free=free, healthy=healthy: lab.all_running([free, healthy]), within=20)
        lab.kctl("delete", "pod", free, healthy, "--timeout=20s")
    events = eventually(lambda: [e for e in lab.get("events")["items"] if e["reason"] == "FailedMount"], within=60)
    assert "not done within" in events[0]["message"] or "has not answered" in events[0]["message"]
    lab.kctl("delete", "pod", *stuck, "--wait=false")
    eventually(lambda: not [name for name in lab.pods() if name.startswith("stuck-")], within=90)
