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

import grpc
import pytest

from cli.client import ref
from nodeagent.control.join import join
from pinnace import kinds, wire
from pinnace.api.v1 import nodes_pb2, nodes_pb2_grpc, objects_pb2
from pinnace.clock import SystemClock
from pinnace.errors import Forbidden
from pinnace.pki import SERVER_NAME
from tests.support import planes as planes_
from tests.support.labs import PATIENCE, eventually, pod

pytestmark = pytest.mark.root
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "paper"}}
STATUS = {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "10"}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Plane:
    """One control plane process, and kctl against it."""

    def __init__(self, folder: Path, etcd: str, *more: str) -> None:
        """`more`: arguments that replace these."""
        self.folder, self.port = folder, free_port()
        command = [
            sys.executable, "-P", "-m", "controlplane", "--state-dir", str(folder), "--store", f"etcd://{etcd}",
            "--listen", f"127.0.0.1:{self.port}", "--web", "", "--advertise", "127.0.0.1",
            # The node of these tests has no agent, so no heartbeat.
            "--node-grace", "3600", *more,
        ]  # fmt: skip
        self.log = open(folder / "log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd="/")

    def kctl(self, *arguments: str, stdin: str = "") -> str:
        command = [sys.executable, "-P", "-m", "cli.main", *arguments]
        environment = {**os.environ, "PINNACE_CONFIG": str(self.folder / "admin.yaml")}
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20 * PATIENCE)
        self.log.close()

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


def addresses(plane: Plane) -> list[str]:
    """Of the API, as pods have them."""
    found = json.loads(plane.kctl("get", "endpoints", "kubernetes", "-o", "json"))
    return sorted(address["ip"] for subset in found["subsets"] for address in subset["addresses"])


def test_the_api_has_the_addresses_of_every_control_plane(tmp_path: Path, etcd: str) -> None:
    """One that stops is left out at once, one that is killed when its Lease has not been renewed for 15 seconds."""
    folders, started = [tmp_path / f"plane{number}" for number in range(3)], list[Plane]()
    try:
        for number, folder in enumerate(folders):
            (folder / "pki").mkdir(parents=True)
            for name in ("ca.crt", "ca.key") if number else ():
                shutil.copy(folders[0] / "pki" / name, folder / "pki" / name)
            web = ("--web", f"0.0.0.0:{free_port()}", "--advertise", f"192.0.2.{number + 1}")
            started.append(Plane(folder, etcd, *web, "--socket", str(folder / "api.sock")))
            eventually(lambda: "Server Version" in started[-1].kctl("version"))
        first, second, third = started
        eventually(lambda: addresses(first) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
        slices = json.loads(first.kctl("get", "endpointslices", "-l", "kubernetes.io/service-name=kubernetes", "-o", "json"))
        assert sorted(one["addresses"][0] for item in slices["items"] for one in item["endpoints"]) == addresses(first)
        third.stop()
        eventually(lambda: addresses(first) == ["192.0.2.1", "192.0.2.2"], within=6)
        # The leader: another one leads first.
        first.kill()
        eventually(lambda: addresses(second) == ["192.0.2.2"], within=90)
    finally:
        for plane in started:
            if plane.process.poll() is None:
                plane.kill()


def test_a_clean_shutdown_hands_over_at_once(planes: list[Plane]) -> None:
    """Long before the lease of a killed control plane would end."""
    first, second = planes
    first.kctl("create", "-f", "-", stdin=json.dumps(NODE))
    _give_resources(first)
    first.stop()
    second.kctl("apply", "-f", "-", stdin=json.dumps(pod("after")))
    eventually(lambda: "paper" in second.kctl("get", "pod", "after", "-o", "wide"), within=6)


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


def test_a_node_that_one_removes_is_revoked_on_the_other(tmp_path: Path, etcd: str) -> None:
    """A token of one works at the other, once; the certificate is good at both until the Node is deleted at either."""
    first, second = (planes_.Plane(tmp_path / name, store=f"etcd://{etcd}") for name in ("one", "two"))
    try:
        first.start()
        (second.folder / "pki").mkdir(parents=True)
        for name in ("ca.crt", "ca.key"):
            shutil.copy(first.folder / "pki" / name, second.folder / "pki" / name)
        second.start()
        token = first.token(node="n1")
        join(second.endpoint, node="n1", token=token.token, ca_hash=token.caHash, folder=tmp_path / "n1", clock=SystemClock())
        with pytest.raises(Forbidden):
            join(
                first.endpoint, node="n1", token=token.token, ca_hash=token.caHash, folder=tmp_path / "n2", clock=SystemClock()
            )
        eventually(lambda: [reason(plane, tmp_path / "n1") for plane in (first, second)] == ["", ""])
        with first.client() as client:
            client.call(client.objects.Delete, objects_pb2.DeleteRequest(ref=ref(kinds.NODE, "", "n1")))
        eventually(lambda: [reason(plane, tmp_path / "n1") for plane in (first, second)] == ["Unauthorized"] * 2, within=5)
    finally:
        first.stop()
        second.stop()


def reason(plane: planes_.Plane, pki: Path) -> str:
    """Why a call with a node's certificate is refused; empty when it is served."""
    credentials = grpc.ssl_channel_credentials(*((pki / name).read_bytes() for name in ("ca.crt", "node.key", "node.crt")))
    options = (("grpc.ssl_target_name_override", SERVER_NAME),)
    with grpc.secure_channel(f"127.0.0.1:{plane.port}", credentials, options=options) as channel:
        try:
            nodes_pb2_grpc.NodesStub(channel).ReportStatus(nodes_pb2.ReportStatusRequest(), timeout=20)
        except grpc.RpcError as error:
            return wire.from_rpc_error(error).reason
    return ""
