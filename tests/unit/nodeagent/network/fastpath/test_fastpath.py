"""When generations begin, and which devices have programs: with a kernel that records what it is told."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from nodeagent.network.fastpath.bpf import EGRESS, INGRESS
from nodeagent.network.fastpath.fastpath import FastPath
from nodeagent.network.fastpath.node import NodeFastPath
from nodeagent.network.fastpath.objects import Objects
from nodeagent.network.guard import Binding
from pinnace.clock import SystemClock
from tests.support.labs import eventually


class Kernel(Objects):
    """`links` has the devices and places of file descriptors, `broken` the devices that have gone."""

    def __init__(self) -> None:
        self.generations = list[int]()
        self.devices = (0, 0, 0)
        self.ports = dict[str, int]()
        self.links = dict[int, tuple[int, int]]()
        self.broken = set[int]()
        self.error: OSError | None = None
        self.closed = False

    def configure(self, generation: int, *, vxlan: int, bridge: int, limit: int) -> None:
        if self.error is not None:
            raise self.error
        self.generations.append(generation)
        self.devices = (vxlan, bridge, limit)

    def add_port(self, address: str, index: int) -> None:
        self.ports[address] = index

    def remove_port(self, address: str, index: int) -> None:
        if self.ports.get(address) == index:
            del self.ports[address]

    def attach(self, index: int, place: int) -> int:
        if index in self.broken:
            raise OSError(errno.ENODEV, "no such device")
        fd = os.open("/dev/null", os.O_RDONLY)
        self.links[fd] = (index, place)
        return fd

    def packets(self) -> dict[str, int]:
        return {"forwarded": 1}

    def close(self) -> None:
        self.closed = True

    def attached(self) -> set[tuple[int, int]]:
        """Those whose file descriptors are open."""
        return {link for fd, link in self.links.items() if _is_null(fd)}


def _is_null(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == "/dev/null"
    except OSError:
        return False


NODE = {(5, INGRESS), (5, EGRESS), (6, EGRESS)}


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def fast_path(kernel: Kernel) -> Iterator[FastPath]:
    found = FastPath(SystemClock(), quiet=0.05, make=lambda: kernel)
    found.open()
    yield found
    found.close()


def test_a_generation_begins_at_once_and_another_after_packets_have_left(fast_path: FastPath, kernel: Kernel) -> None:
    fast_path.bump()
    assert kernel.generations[0] == 1
    eventually(lambda: kernel.generations == [1, 2])
    fast_path.bump()
    assert kernel.generations[2] == 3
    eventually(lambda: len(kernel.generations) == 4)


def test_many_changes_share_the_second_generation(fast_path: FastPath, kernel: Kernel) -> None:
    for _ in range(200):
        fast_path.bump()
    eventually(lambda: len(kernel.generations) > 200)
    assert len(kernel.generations) < 400


def test_programs_are_attached_to_the_nodes_devices_and_to_ports(fast_path: FastPath, kernel: Kernel) -> None:
    fast_path.configure(vxlan=5, bridge=6, mtu=1450)
    fast_path.bind("pnc1", 11, ["10.0.0.2", "fd00::2"])
    assert kernel.devices == (5, 6, 1464)
    assert kernel.ports == {"10.0.0.2": 11, "fd00::2": 11}
    eventually(lambda: kernel.attached() == {*NODE, (11, INGRESS)})
    fast_path.bind("pnc1", 11, ["10.0.0.2", "fd00::2"])
    fast_path.unbind("pnc1")
    assert kernel.ports == {}
    eventually(lambda: kernel.attached() == NODE)
    fast_path.unbind("pnc1")


def test_devices_that_are_made_again_get_programs_again(fast_path: FastPath, kernel: Kernel) -> None:
    fast_path.configure(vxlan=5, bridge=6, mtu=1450)
    fast_path.bind("pnc1", 11, ["10.0.0.2"])
    eventually(lambda: kernel.attached() == {*NODE, (11, INGRESS)})
    fast_path.configure(vxlan=15, bridge=6, mtu=1450)
    fast_path.bind("pnc1", 21, ["10.0.0.2"])
    assert kernel.ports == {"10.0.0.2": 21}
    eventually(lambda: kernel.attached() == {(15, INGRESS), (15, EGRESS), (6, EGRESS), (21, INGRESS)})


def test_an_address_stays_with_the_later_of_two_ports(fast_path: FastPath, kernel: Kernel) -> None:
    fast_path.bind("pnc1", 11, ["10.0.0.2"])
    fast_path.bind("pnc2", 12, ["10.0.0.2"])
    fast_path.unbind("pnc1")
    assert kernel.ports == {"10.0.0.2": 12}


def test_a_device_that_has_gone_does_not_hold_back_others(fast_path: FastPath, kernel: Kernel) -> None:
    kernel.broken = {11}
    fast_path.bind("pnc1", 11, ["10.0.0.2"])
    fast_path.bind("pnc2", 12, ["10.0.0.3"])
    eventually(lambda: kernel.attached() == {(12, INGRESS)})


def test_without_a_new_generation_the_fast_path_ends(fast_path: FastPath, kernel: Kernel) -> None:
    fast_path.configure(vxlan=5, bridge=6, mtu=1450)
    eventually(lambda: kernel.attached() == NODE)
    kernel.error = OSError(errno.EPERM, "not permitted")
    with pytest.raises(OSError, match="not permitted"):
        fast_path.bump()
    eventually(lambda: kernel.attached() == set())
    assert not fast_path.is_open


def test_closing_ends_links_programs_and_the_thread(fast_path: FastPath, kernel: Kernel) -> None:
    fast_path.configure(vxlan=5, bridge=6, mtu=1450)
    eventually(lambda: kernel.attached() == NODE)
    fast_path.close()
    assert kernel.closed
    assert kernel.attached() == set()
    assert "fast path" not in [thread.name for thread in threading.enumerate()]
    fast_path.bump()
    assert fast_path.packets() == {}


class Devices:
    mtu = 1450

    def index(self, name: str) -> int | None:
        return {"pinnace-vx": 5, "pinnace0": 6, "pnc1": 11}.get(name)


def test_a_node_shows_its_devices(kernel: Kernel) -> None:
    """A port that is not there is left out."""
    node = NodeFastPath(FastPath(SystemClock(), quiet=0.05, make=lambda: kernel))
    assert node.open()
    bindings = {
        name: [Binding(name, "0a:00:00:00:00:01", address)] for name, address in (("pnc1", "10.0.0.2"), ("pnc2", "10.0.0.3"))
    }
    node.show(Devices(), bindings)
    assert kernel.devices == (5, 6, 1464)
    assert kernel.ports == {"10.0.0.2": 11}
    assert node.packets() == {"forwarded": 1}
    node.close()


def test_a_node_whose_kernel_has_no_fast_path_works_without(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, once."""

    def refuse() -> Objects:
        raise OSError(errno.EPERM, "not permitted")

    node = NodeFastPath(FastPath(SystemClock(), make=refuse))
    for _ in range(2):
        assert not node.open()
        node.bump()
        node.show(Devices(), {})
        node.unbind("pnc1")
        assert node.packets() == {}
    node.close()
    assert [record.getMessage() for record in caplog.records] == ["no_fast_path error=[Errno 1] not permitted"]
