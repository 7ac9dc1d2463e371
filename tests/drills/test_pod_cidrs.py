"""Pod CIDRs of two control planes on one etcd: no two nodes get the same, whatever joins at once and whichever is killed."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client, ref
from nodeagent.control.join import join
from pinnace import kinds
from pinnace.api.v1 import objects_pb2
from pinnace.clock import SystemClock
from tests.support.etcdcluster import Members
from tests.support.labs import PATIENCE
from tests.support.planes import Plane, free_port

# Nodes that join at once; twice as many are all but four of the subnets that there are.
NODES = 30
CLUSTER = ipaddress.ip_network("10.99.0.0/18")
FLAGS = ("--cluster-cidr", str(CLUSTER), "--node-bits", "24", "--service-cluster-ip-range", "192.168.0.0/16")
# Seconds that etcd does not answer meanwhile, and in which every join succeeds in the end.
FROZEN, PATIENT = 1.5, 60.0 * PATIENCE


class Site:
    """Two control planes on one etcd, with one CA."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        address, peer = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.etcd = Members(folder / "etcd", [address], [peer])
        self.planes = [Plane(folder / name, *FLAGS, store=f"etcd://{address}") for name in ("first", "second")]

    def start(self) -> None:
        self.etcd.start()
        asyncio.run(self.etcd.healthy())
        first, second = self.planes
        first.start()
        (second.folder / "pki").mkdir(parents=True)
        for name in ("ca.crt", "ca.key"):
            shutil.copy(first.folder / "pki" / name, second.folder / "pki" / name)
        second.start()

    def enroll(self, plane: Plane, name: str, token: Any) -> None:
        folder, clock = self._folder / name, SystemClock()
        join(plane.endpoint, node=name, token=token.token, ca_hash=token.caHash, folder=folder, clock=clock, patience=PATIENT)

    @contextmanager
    def joining(self, letters: str, count: int) -> Iterator[None]:
        """So many nodes at each control plane: both have given out subnets before either has committed one. All have joined
        at the end."""
        tokens = {f"{letter}-{n}": (plane, plane.token()) for letter, plane in zip(letters, self.planes, strict=True)
                  for n in range(count)}  # fmt: skip
        with ThreadPoolExecutor(len(tokens)) as pool:
            self.etcd.freeze(0)
            joins = [pool.submit(self.enroll, plane, name, token) for name, (plane, token) in tokens.items()]
            time.sleep(FROZEN * PATIENCE)
            self.etcd.thaw(0)
            yield
            for each in joins:
                each.result()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    with ExitStack() as stack:
        stack.callback(made.etcd.stop)
        for plane in made.planes:
            stack.callback(plane.stop)
        made.start()
        yield made


def check(client: Client, count: int) -> None:
    """There are so many nodes; each has a subnet of the cluster's to itself, and the claim on it."""
    found = client.list(kinds.NODE, "")
    assert len(found) == count
    names = {ipaddress.ip_network(node.spec.podCIDR): node.metadata.name for node in found}
    assert len(names) == count, sorted((node.spec.podCIDR, node.metadata.name) for node in found)
    assert set(names) <= set(CLUSTER.subnets(new_prefix=24))
    held = {claim.metadata.name: claim.spec.holderIdentity for claim in client.list(kinds.LEASE, "kube-system")}
    assert {held[f"pod-cidr-{subnet.network_address}-24"]: subnet for subnet in names} == {
        name: subnet for subnet, name in names.items()
    }


def test_concurrent_joins_at_two_control_planes_share_no_subnet(site: Site) -> None:
    """Nor does one that is killed in the middle leave a subnet that is lost; those of removed nodes are given out again."""
    first, second = site.planes
    with first.client() as client:
        with site.joining("ab", NODES // 2):
            pass
        check(client, NODES)
        with site.joining("cd", NODES // 2):
            assert second.process is not None
            second.process.send_signal(signal.SIGKILL)
            second.process.wait()
            second.start()
        check(client, 2 * NODES)
        for number in range(NODES // 2):
            for letter in "ad":
                client.call(client.objects.Delete, objects_pb2.DeleteRequest(ref=ref(kinds.NODE, "", f"{letter}-{number}")))
        with site.joining("ef", NODES // 2):
            pass
        check(client, 2 * NODES)
