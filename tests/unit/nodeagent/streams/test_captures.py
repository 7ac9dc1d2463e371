"""A capture continues with the device that a pod gets again, and ends when it has none any more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nodeagent.network.packets import Capture, Filter
from nodeagent.streams import captures
from pinnace.api.v1.streams_pb2 import CaptureOptions
from pinnace.clock import SystemClock
from pinnace.errors import Unavailable
from tests.support import frames
from tests.support.networks import alone


class Pod:
    """A pod's capture: each item is a packet, or whether the device is gone from then on; None: it stays so."""

    def __init__(self, *items: bytes | bool | None) -> None:
        self._items, self._gone, self.down = list(items), False, False

    def read(self, *, wait: bool) -> bytes | None:
        item = self._items[0] if self._items else None
        if item is not None:
            del self._items[0]
        if isinstance(item, bool):
            self._gone = item
        self.down = self.down or self._gone
        return item if isinstance(item, bytes) else None

    def reopen(self) -> None:
        self.down = self._gone

    def dropped(self) -> int:
        return 0


class Hasty(SystemClock):
    """Time that passes by sleep alone."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


async def captured(pod: Pod, **options: int) -> list[bytes]:
    """What is, after the file's header; then the error that it ends with, as a text."""
    outgoing, found = asyncio.Queue[Any](), list[bytes]()
    try:
        await captures._carry(pod, CaptureOptions(**options), outgoing, Hasty(), device="eth0 of pod a")  # type: ignore[arg-type]
    except Unavailable as error:
        found.append(error.message.encode())
    outgoing.get_nowait()
    return [outgoing.get_nowait().stdout for _ in range(outgoing.qsize())] + found


async def test_a_device_that_is_made_again_is_captured() -> None:
    assert await captured(Pod(b"one", True, False, b"two"), packets=2) == [b"one", b"two"]


async def test_a_device_that_is_gone_ends_the_capture_with_an_error() -> None:
    """What was captured before is sent."""
    assert await captured(Pod(b"one", True), packets=2) == [b"one", b"eth0 of pod a has disappeared, or is down"]


@pytest.mark.root
def test_a_socket_follows_the_pods_device() -> None:
    """Down and up, deleted and made again; in a network namespace of the test's own."""

    def shell(line: str) -> None:
        subprocess.run(["sh", "-ec", line], check=True, timeout=30)

    def gone(capture: Capture) -> bool:
        """After the packets that are still there."""
        while capture.read(wait=True) is not None or not capture.down:
            pass
        return capture.down

    def heard(capture: Capture) -> bool:
        """An ARP request for an address that no host has."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"", ("10.1.0.9", 9))
        return capture.read(wait=True) is not None

    def run() -> None:
        made = "ip link add eth0 type veth peer name other0; ip link set other0 up; ip link set eth0 up; ip address add 10.1.0.1/24 dev eth0"
        shell(made)
        netns = Path(f"/proc/self/task/{threading.get_native_id()}/ns/net")
        with contextlib.closing(Capture(netns, Filter(), 100)) as capture:
            assert heard(capture)
            shell("ip link set eth0 down")
            assert gone(capture)
            shell("ip link set eth0 up")
            capture.reopen()
            assert not capture.down
            assert heard(capture)
            shell("ip link del eth0")
            assert gone(capture)
            capture.reopen()
            assert capture.down
            shell(made)
            capture.reopen()
            assert heard(capture)
            assert not capture.down

    alone(run)


@pytest.mark.root
@pytest.mark.parametrize("tags", [(frames.ETH_8021Q,), (frames.ETH_8021AD,), (frames.ETH_8021AD, frames.ETH_8021Q)])
def test_frames_are_captured_with_their_tags(tags: tuple[int, ...]) -> None:
    """Those that the pod receives, whose tag the kernel has removed, as those that it sends; a filter finds both."""
    sent = [
        frames.tagged(frames.ethernet(source, target, frames.ipv4_udp("10.1.0.1", "10.1.0.2", b"in a tag")), *tags, vlan=0xE007)
        for source, target in (("02:00:00:00:00:01", "02:00:00:00:00:02"), ("02:00:00:00:00:02", "02:00:00:00:00:01"))
    ]

    def run() -> list[bytes]:
        made = "ip link add eth0 type veth peer name other0; ip link set other0 up; ip link set eth0 up"
        subprocess.run(["sh", "-ec", made], check=True, timeout=30)
        netns = Path(f"/proc/self/task/{threading.get_native_id()}/ns/net")
        # A filter looks into one tag.
        wanted = Filter(port=frames.PORT) if len(tags) == 1 else Filter()
        with contextlib.closing(Capture(netns, wanted, 100)) as capture:
            for device, frame in zip(("eth0", "other0"), sent, strict=True):
                frames.send_frame(netns, device, frame)
            records = list[bytes]()
            while (record := capture.read(wait=True)) is not None:
                records.append(record)
        assert all(int.from_bytes(record[12:16], sys.byteorder) == len(sent[0]) for record in records if record[16:] in sent)
        return [record[16:] for record in records if b"in a tag" in record]

    assert alone(run) == [sent[0]] * 3 + [sent[1]] * 3
