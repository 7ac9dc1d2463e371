"""`kctl net capture`: a pod's packets as a pcap file, with filters and bounds; for users that may run commands in the pod."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.labs import LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
SERVE = "mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"


@pytest.fixture(scope="module")
def address(lab: LabUnderTest) -> Iterator[str]:
    lab.apply(pod("captured", "sh", "-c", SERVE, nodeName="node-1"), pod("asking", nodeName="node-2"))
    found = eventually(lambda: lab.all_running(["captured", "asking"]))
    yield str(found["captured"]["status"]["podIP"])
    lab.kctl("delete", "pod", "captured", "asking", "--now")


def read(data: bytes) -> list[bytes]:
    """The frames of a file."""
    magic, *_, kind = struct.unpack_from("=IHHiIII", data)
    assert (magic, kind) == (0xA1B23C4D, 1)
    frames, start = [], 24
    while start < len(data):
        seconds, nanoseconds, kept, length = struct.unpack_from("=IIII", data, start)
        assert seconds > 1_600_000_000
        assert nanoseconds < 1_000_000_000
        assert kept <= length
        frames.append(data[start + 16 : start + 16 + kept])
        start += 16 + kept
    return frames


def capture(lab: LabUnderTest, address: str, *flags: str) -> list[bytes]:
    """What is captured while another pod asks for a page, and pings."""
    command = lab.command("net", "capture", "captured", *flags)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment) as process:

        def ended() -> bool:
            lab.run("exec", "asking", "--", "ping", "-c", "1", "-W", "1", address)
            lab.run("exec", "asking", "--", "timeout", "2", "wget", "-qO-", f"http://{address}:8080/index.html")
            return process.poll() is not None

        eventually(ended, within=20)
        out, error = process.communicate(timeout=10)
    assert process.returncode == 0, error
    return read(out)


def test_packets_of_a_port(lab: LabUnderTest, address: str) -> None:
    frames = capture(lab, address, "--port", "8080", "-c", "8")
    assert len(frames) == 8
    ports = [struct.unpack_from("!HH", frame, 34) for frame in frames]
    assert all(8080 in pair for pair in ports)
    assert all(frame[23] == 6 for frame in frames)


def test_a_file_for_the_user_alone(lab: LabUnderTest, address: str, tmp_path: Path) -> None:
    """With all packets, requests and answers."""
    path = tmp_path / "web.pcap"
    umask = os.umask(0)
    try:
        assert capture_to(lab, address, path) == 0
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = b"".join(read(path.read_bytes()))
    assert b"GET /index.html" in data
    assert b"page" in data


def capture_to(lab: LabUnderTest, address: str, path: Path) -> int:
    command = lab.command("net", "capture", "captured", "-w", str(path), "--duration", "3s")
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=lab.environment) as process:
        while process.poll() is None:
            lab.run("exec", "asking", "--", "timeout", "2", "wget", "-qO-", f"http://{address}:8080/index.html")
    return process.returncode


def test_bounds_of_bytes_and_of_each_packet(lab: LabUnderTest, address: str) -> None:
    frames = capture(lab, address, "--max-bytes", "400", "-s", "40")
    assert 0 < sum(16 + len(frame) for frame in frames) <= 400
    assert max(map(len, frames)) == 40


def test_a_pod_that_ends_ends_its_capture(lab: LabUnderTest) -> None:
    """With an error, as tcpdump's: the file is whole, but not what was asked for."""
    lab.apply(pod("ending", nodeName="node-1"))
    eventually(lambda: lab.all_running(["ending"]))
    command = lab.command("net", "capture", "ending", "-c", "1000000")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment) as process:
        assert process.stdout is not None
        assert len(process.stdout.read(24)) == 24
        lab.kctl("delete", "pod", "ending", "--now")
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"eth0 of pod ending has disappeared" in error


def test_wrong_wishes_are_refused(lab: LabUnderTest, address: str) -> None:
    for flags, said in (
        (("captured", "--host", "nonsense"), b"'nonsense' is not an IP address"),
        (("captured", "--port", "70000"), b'"70000" is not a number from 0 to 65535'),
        (("missing",), b'pods "missing" not found'),
    ):
        result = lab.run("net", "capture", *flags)
        assert result.returncode == 1
        assert said in result.stderr
