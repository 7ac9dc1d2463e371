"""Two control planes over one etcd: what one stores the other serves, and one of them schedules, whoever is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import eventually, pod

pytestmark = pytest.mark.root
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "paper"}}
STATUS = {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plane:
    """One control plane process, and kctl against it."""

    def __init__(self, folder: Path, etcd: str) -> None:
        self.folder, self.port = folder, free_port()
        command = [
            sys.executable, "-P", "-m", "controlplane", "--state-dir", str(folder), "--store", f"etcd://{etcd}",
            "--listen", f"127.0.0.1:{self.port}", "--web", "", "--advertise", "127.0.0.1",
        ]  # fmt: skip
        self.log = open(folder / "log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd="/")

    def kctl(self, *arguments: str, stdin: str = "") -> str:
        command = [sys.executable, "-P", "-m", "cli.main", *arguments]
        environment = {**os.environ, "PINNACE_CONFIG": str(self.folder / "admin.yaml")}
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[str]:
    client, peer = free_port(), free_port()
    command = [
        "etcd", "--data-dir", str(tmp_path / "etcd"), "--listen-client-urls", f"http://127.0.0.1:{client}",
        "--advertise-client-urls", f"http://127.0.0.1:{client}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}",
    ]  # fmt: skip
    with open(tmp_path / "etcd.log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"127.0.0.1:{client}"
        finally:
            process.kill()


@pytest.fixture
def planes(tmp_path: Path, etcd: str) -> Iterator[list[Plane]]:
    """Two, with one CA."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (second / "pki").mkdir(parents=True)
    started = [Plane(first, etcd)]
    try:
        eventually(lambda: "Server Version" in started[0].kctl("version"))
        for name in ("ca.crt", "ca.key"):
            shutil.copy(first / "pki" / name, second / "pki" / name)
        started.append(Plane(second, etcd))
        eventually(lambda: "store: etcd" in started[1].kctl("version"))
        yield started
    finally:
        for plane in started:
            if plane.process.poll() is None:
                plane.kill()


def test_either_serves_and_one_schedules_through_a_kill(planes: list[Plane]) -> None:
    """Reads are of the latest state on both; after the leader's death the other one takes over."""
    first, second = planes
    first.kctl("create", "-f", "-", stdin=json.dumps(NODE))
    _give_resources(first)
    for number in range(5):
        planes[number % 2].kctl("create", "configmap", f"c{number}", "--from-literal=a=b")
        assert f"c{number}" in planes[(number + 1) % 2].kctl("get", "cm", "-o", "name")
    second.kctl("apply", "-f", "-", stdin=json.dumps(pod("before")))
    eventually(lambda: "paper" in second.kctl("get", "pod", "before", "-o", "wide"))
    holder = second.kctl("get", "lease", "pinnace-controlplane", "-n", "kube-system", "-o", "jsonpath={.spec.holderIdentity}")
    first.kill()
    second.kctl("apply", "-f", "-", stdin=json.dumps(pod("after")))
    eventually(lambda: "paper" in second.kctl("get", "pod", "after", "-o", "wide"), within=60)
    now = second.kctl("get", "lease", "pinnace-controlplane", "-n", "kube-system", "-o", "jsonpath={.spec.holderIdentity}")
    assert now != holder


def _give_resources(plane: Plane) -> None:
    """A node that nobody runs: its status by hand, as a test of a controller would."""
    from cli.client import Client, ref
    from cli.contexts import current
    from pinnace import kinds
    from pinnace.api.v1 import objects_pb2

    class Flags:
        context = namespace = ""
        config = str(plane.folder / "admin.yaml")

    client = Client(current(Flags()))
    patch = objects_pb2.PatchRequest(
        ref=ref(kinds.NODE, "", "paper"), type=objects_pb2.PatchRequest.MERGE, subresource="status",
        patch=json.dumps({"status": STATUS}).encode(),
    )  # fmt: skip
    client.call(client.objects.Patch, patch)
    client.channel.close()
