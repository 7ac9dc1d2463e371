"""An agent of another version starts over what an earlier one left: containers keep running, the launcher is replaced."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from nodeagent.runtime.interface import ExecConfig, Handle, Terminal
from nodeagent.runtime.nativeruntime import NativeRuntime
from pinnace.clock import SystemClock
from tests.support.containers import Host, host

pytestmark = pytest.mark.root

# A launcher as it was before `version`: it answers with an error and goes on.
BEFORE_VERSIONS = """
import json, os, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
while True:
    client, _ = listener.accept()
    if data := client.recv(1 << 16):
        request = json.loads(data)
        client.send(json.dumps({"id": request["id"], "error": f"unknown request {request['op']}"}).encode())
"""


@pytest_asyncio.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path) as found:
        yield found


def listener(path: Path) -> int:
    """The process that listens on a Unix socket (unix(7), SO_PEERCRED)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.connect(str(path))
        return int(struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def of_version(folder: Path, version: str) -> NativeRuntime:
    """The runtime of an agent whose code is of that version."""
    found = NativeRuntime(folder, SystemClock())
    found._link._version = version
    return found


async def run(runtime: NativeRuntime, handle: Handle, *command: str) -> int:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        return await runtime.exec(handle, ExecConfig(command), (null, null, null))
    finally:
        os.close(null)


async def test_a_launcher_of_another_version_is_replaced_and_its_containers_run_on(machine: Host) -> None:
    older = machine.runtime
    handle = await machine.start("sh", "-c", "read line; exit 7", terminal=Terminal(stdin=True))
    before = listener(machine.folder / "launcher.sock")
    await older.close()
    newer = of_version(machine.folder, "newer")
    try:
        found = newer.recover(handle.bundle)
        assert found == handle
        assert await run(newer, handle, "true") == 0
        after = listener(machine.folder / "launcher.sock")
        assert after != before
        assert older.launcher is not None
        assert older.launcher.wait(10) == -15
        assert Path(f"/proc/{handle.pid}/stat").exists(), "the container was not touched"
        ended = asyncio.ensure_future(newer.wait(handle))
        os.kill(handle.pid, 9)
        assert (await asyncio.wait_for(ended, 20)).signal == 9
    finally:
        await newer.close()
        machine.runtime = newer


async def test_a_launcher_of_the_same_version_stays(machine: Host) -> None:
    await machine.runtime.warm()
    before = listener(machine.folder / "launcher.sock")
    again = NativeRuntime(machine.folder, SystemClock())
    await again.warm()
    assert listener(machine.folder / "launcher.sock") == before
    await again.close()


async def test_a_launcher_that_knows_no_versions_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "launcher.sock"
    old = subprocess.Popen([sys.executable, "-c", BEFORE_VERSIONS, str(path)])
    try:
        async with asyncio.timeout(20):
            while not path.exists():
                await asyncio.sleep(0.01)
        runtime = NativeRuntime(tmp_path, SystemClock())
        await runtime.warm()
        assert old.wait(10) == -15
        launcher = runtime.launcher
        assert launcher is not None
        await runtime.close()
        launcher.terminate()
        launcher.wait(10)
    finally:
        old.kill()
        old.wait(10)
