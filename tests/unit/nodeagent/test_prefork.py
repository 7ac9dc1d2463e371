"""`pinnace-nodeagent prefork`: what a forked agent is, and the end of the process that forks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.linux import syscalls
from tests.support.awaiting import eventually
from tests.support.networks import alone

pytestmark = pytest.mark.root
Process = subprocess.Popen[bytes]


@pytest.fixture
def forking() -> Iterator[Process]:
    command = [sys.executable, "-P", "-m", "nodeagent", "prefork"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        yield process
        process.kill()


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "net"
    path.touch()
    alone(lambda: syscalls.mount("/proc/thread-self/ns/net", str(path), "", syscalls.MS_BIND))
    yield path
    syscalls.umount(str(path), syscalls.MNT_DETACH)


def start(process: Process, folder: Path, name: str, arguments: list[str], *namespaces: Path, stdin: str = "") -> int:
    """Has an agent forked; its pid."""
    log = str(folder / f"{name}.log")
    order = {"name": name, "arguments": arguments, "stdin": stdin, "log": log, "namespaces": [str(path) for path in namespaces]}
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    return int(process.stdout.readline())


async def test_agents_have_a_session_streams_and_namespaces_of_their_own(forking: Process, netns: Path, tmp_path: Path) -> None:
    """Two of one process, which try to reach a control plane that is not there; the second does not have the first's token."""
    joining = ["join", "192.0.2.1:1", "--token-file", "-", "--ca-hash", f"sha256:{'0' * 64}", "--wait", "60"]
    pids = [
        start(forking, tmp_path, name, [*joining, "--node-name", name, "--state-dir", str(tmp_path / name)], *found, stdin="t")
        for name, found in (("one", [netns]), ("two", []))
    ]
    try:
        for pid in pids:
            await eventually(lambda pid=pid: os.getsid(pid) == pid and os.readlink(f"/proc/{pid}/cwd") == "/", within=30)
        assert os.stat(f"/proc/{pids[0]}/ns/net").st_ino == netns.stat().st_ino
        assert os.stat(f"/proc/{pids[1]}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
        for pid, name in zip(pids, ("one", "two"), strict=True):
            assert Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"
            streams = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
            assert streams[1:] == [str(tmp_path / f"{name}.log")] * 2
            assert streams[0].startswith("pipe:")
            assert os.stat(f"/proc/{pid}/fd/0").st_ino != os.stat(f"/proc/{forking.pid}/fd/0").st_ino
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_what_an_agent_says_is_in_its_log(forking: Process, tmp_path: Path) -> None:
    """It has joined no cluster; the process that forked it can fork another."""
    for name in ("one", "two"):
        start(forking, tmp_path, name, ["run", "--state-dir", str(tmp_path / name)])
        log = tmp_path / f"{name}.log"
        await eventually(lambda log=log: log.exists() and "is missing: join a cluster first" in log.read_text(), within=30)


@pytest.mark.parametrize(
    "rest", [b"", b'{"name": "x", "arguments": ["run"], "stdin": "", "log": "/nowhere/x", "namespaces": []}']
)
def test_it_ends_with_its_input(forking: Process, rest: bytes) -> None:
    """A line that was not written to its end is not obeyed."""
    assert forking.stdin is not None
    assert forking.stdout is not None
    forking.stdin.write(rest)
    forking.stdin.close()
    assert forking.wait(60) == 0
    assert forking.stdout.read() == b""
