"""NFS volumes, from a server of the test's own. This machine's kernel may have neither client nor server: tests/vm runs these."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.lab import layout
from tests.e2e.test_storage import claim, ended, of_claim, pod
from tests.support import nfsserver
from tests.support.labs import ROOT, LabUnderTest, eventually, running

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not nfsserver.is_available(), reason="the kernel has no NFS (modules nfsv4 and nfsd)"),
]


@dataclass(frozen=True)
class Export:
    """A directory of the host `control`, which it exports as /."""

    lab: LabUnderTest
    server: str
    folder: Path

    def source(self, **rest: Any) -> dict[str, Any]:
        return {"nfs": {"server": self.server, "path": "/", **rest}}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    folder = tmp_path_factory.mktemp("export")
    folder.chmod(0o777)
    with running("t-nfs", tmp_path_factory.mktemp("nfs"), nodes=2) as lab:
        found = layout.load(lab.name)
        addresses = [found.address(node) for node in found.nodes]
        command = [
            "nsenter", f"--net={found.namespace(layout.CONTROL, 'net')}", "unshare", "--mount",
            sys.executable, "-m", "tests.support.nfsserver", str(folder), *addresses,
        ]  # fmt: skip
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            assert server.stdout.readline() == "serving\n"
            yield Export(lab, found.address(layout.CONTROL), folder)
            lab.kctl("delete", "pods", "--all", "--grace-period=1")
            server.stdin.close()
            server.wait(timeout=60)


@pytest.mark.shows("spec.volumes[].nfs.{server,path,readOnly}")
def test_pods_on_two_nodes_share_an_export(export: Export) -> None:
    """One writes, the other reads and cannot write; nothing stays mounted after them."""
    lab = export.lab
    lab.apply(pod("writer", "echo shared > /data/file", {"data": export.source()}, nodeName="node-1"))
    eventually(lambda: ended(lab, "writer"))
    assert (export.folder / "file").read_text() == "shared\n"
    script = "grep -q shared /data/file && ! touch /data/more"
    lab.apply(pod("reader", script, {"data": export.source(readOnly=True)}, nodeName="node-2"))
    eventually(lambda: ended(lab, "reader"))
    lab.kctl("delete", "pod", "writer", "reader")
    for node in ("node-1", "node-2"):
        assert " nfs" not in Path(f"/proc/{lab.pid(node)}/mounts").read_text()


def test_a_claim_of_an_nfs_volume_is_read_and_written_by_many(export: Export) -> None:
    """Two pods of two nodes write at the same time; mountOptions reach the kernel."""
    lab = export.lab
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "mountOptions": ["vers=4.1", "hard"],
        **export.source(),
    }
    lab.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "shared"}, "spec": spec})
    lab.apply(claim("many", accessModes=["ReadWriteMany"], volumeName="shared", storageClassName=""))
    script = (
        "grep -q vers=4.1 /proc/mounts && touch /data/$HOSTNAME && until [ -e /data/one -a -e /data/two ]; do sleep 0.1; done"
    )
    for name, node in (("one", "node-1"), ("two", "node-2")):
        lab.apply(pod(name, script, {"data": of_claim("many")}, nodeName=node))
    for name in ("one", "two"):
        eventually(lambda name=name: ended(lab, name))  # type: ignore[misc]
    assert {"one", "two"} <= {path.name for path in export.folder.iterdir()}
