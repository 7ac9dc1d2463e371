"""Streams whose reader is slow or gone: memory stays where it was, and nobody else is held up."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.breaking import goes_on, nothing_left, script, settle_in
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.traces import Traces, traces

pytestmark = pytest.mark.root
KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20
# A share of a processor for whoever writes without end: the machine has other users.
SHARE = {"resources": {"limits": {"cpu": "200m"}}}
GATE = "while [ ! -e /go ]; do sleep 0.05; done; "
# Seconds that the flood is read slowly; then how long until it is looked at again.
FILL, HOLD = 3.0, 6.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-rob-flow", tmp_path_factory.mktemp("streams"), nodes=1) as found:
        settle_in(found)
        yield found


@pytest.fixture
def before(lab: LabUnderTest) -> Iterator[Traces]:
    found = traces(lab)
    yield found
    nothing_left(lab, found)


def resident(pid: int) -> int:
    """Bytes in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIBIBYTE
    raise AssertionError(f"process {pid} has ended")


@contextlib.contextmanager
def started(lab: LabUnderTest, *calls: tuple[str, ...]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Several kctl, killed at the end."""
    found = []
    try:
        for words in calls:
            command = [sys.executable, "-P", "-m", "cli.main", *words]
            found.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=lab.environment, bufsize=0)
            )
        yield found
    finally:
        for call in found:
            call.kill()
            call.communicate()


def read_slowly(readers: list[Callable[[int], bytes]], seconds: float) -> None:
    """64 KiB a second of each."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for read in readers:
            assert read(16 * KIBIBYTE)
        time.sleep(0.25)


def test_a_flood_to_slow_readers_grows_no_memory(lab: LabUnderTest, before: Traces) -> None:
    """exec, attach, logs -f and port-forward of endless output, two of each: agent, control plane and monitors stay small,
    and another stream is served meanwhile."""
    lab.apply(
        pod("bytes", "sh", "-c", GATE + "exec cat /dev/zero", container=SHARE),
        pod("lines", "sh", "-c", GATE + "exec yes hello hello hello", container=SHARE),
        pod("port", "sh", "-c", "while :; do nc -l -p 7000 -e cat /dev/zero; done"),
        script("calm", "trap 'exit 0' TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done"),
    )
    items = eventually(lambda: lab.all_running(["bytes", "lines", "port", "calm"]))
    # What a first stream of each kind brings in is not growth.
    lab.kctl("exec", "calm", "--", "true")
    monitors = [lab.state(items[name])["monitor"] for name in ("bytes", "lines")]
    agent, control = lab.pid("node-1"), lab.pid("control")
    at_first = {pid: resident(pid) for pid in (agent, control, *monitors)}
    calls = [("exec", "calm", "--", "cat", "/dev/zero")] * 2
    calls += [(*words, name) for name in ("bytes", "lines") for words in (("attach",), ("logs", "-f"))]
    with started(lab, *calls, ("port-forward", "port", ":7000")) as processes, contextlib.ExitStack() as stack:
        forward = processes[-1].stdout
        assert forward is not None
        address = "127.0.0.1", int(forward.readline().split(b":")[1].split()[0])
        connection = stack.enter_context(socket.create_connection(address, timeout=30))
        for name in ("bytes", "lines"):
            lab.kctl("exec", name, "--", "touch", "/go")
        outputs = [call.stdout.fileno() for call in processes[:-1] if call.stdout is not None]
        readers: list[Callable[[int], bytes]] = [lambda size, fd=fd: os.read(fd, size) for fd in outputs]  # type: ignore[misc]
        readers.append(connection.recv)
        read_slowly(readers, FILL)
        filled = {pid: resident(pid) for pid in at_first}
        read_slowly(readers, HOLD)
        held = {pid: resident(pid) for pid in at_first}
        goes_on(lab, "calm")
    for pid, most in ((agent, 16), (control, 30), *((pid, 2) for pid in monitors)):
        assert filled[pid] - at_first[pid] < most * MEBIBYTE
        assert held[pid] - filled[pid] < 3 * MEBIBYTE


def open_files(pid: int) -> int:
    """Without links of BPF programs, of which each pod's device gets one a moment after the pod has started."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += not os.readlink(link).startswith("anon_inode:bpf")
    return found


def test_many_streams_of_every_kind_at_once(lab: LabUnderTest, before: Traces) -> None:
    """Each gets its own, and the agent has as many descriptors afterwards as before."""
    lab.apply(
        script("busy", "trap 'exit 0' TERM; while :; do usleep 100000; done"),
        pod("talk", "sh", "-c", "while :; do echo tick; sleep 0.1; done", container={"stdin": True}),
        pod("web", "sh", "-c", "echo page > /index.html; exec httpd -f -p 80 -h /"),
    )
    eventually(lambda: lab.all_running(["busy", "talk", "web"]))
    lab.kctl("exec", "busy", "--", "true")
    agent = lab.pid("node-1")
    descriptors = open_files(agent)
    calls = [("exec", "busy", "--", "sh", "-c", f"sleep 1; echo out{n}; exit {n}") for n in range(12)]
    calls += [("attach", "talk")] * 4 + [("logs", "-f", "talk")] * 4 + [("cp", "busy:/bin/busybox", "-")] * 2
    with started(lab, *calls, ("port-forward", "web", ":80")) as processes:
        forward = processes[-1].stdout
        assert forward is not None
        port = int(forward.readline().split(b":")[1].split()[0])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                sock.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
                assert b"".join(iter(lambda s=sock: s.recv(4096), b"")).endswith(b"page\n")  # type: ignore[misc]
        for number in range(12):
            out, _ = processes[number].communicate(timeout=60)
            assert (out, processes[number].returncode) == (b"out%d\n" % number, number)
        for call in processes[12:20]:
            assert call.stdout is not None
            assert b"tick" in call.stdout.read(64)
        for call in processes[20:22]:
            assert len(call.communicate(timeout=60)[0]) > MEBIBYTE
    eventually(lambda: open_files(agent) <= descriptors + 2)


def test_an_agent_that_is_killed_leaves_no_helper_behind(lab: LabUnderTest, before: Traces) -> None:
    """Commands, copies and terminals end with it; the attached container goes on."""
    lab.apply(pod("shell", "cat", container={"stdin": True}))
    eventually(lambda: lab.all_running(["shell"]))
    with started(lab, ("exec", "shell", "--", "sh", "-c", "sleep 4711 & sleep 4712"), ("attach", "shell")):
        eventually(lambda: "sleep 4711" in lab.kctl("exec", "shell", "--", "ps"))
        lab.kill("node-1")
        lab.start_agent("node-1")
        eventually(lambda: lab.run("exec", "shell", "--", "true").returncode == 0)
        eventually(lambda: "sleep 471" not in lab.kctl("exec", "shell", "--", "ps"))
    assert lab.pods()["shell"]["status"]["containerStatuses"][0]["restartCount"] == 0
