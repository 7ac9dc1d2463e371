"""A container's user opens its standard streams by name (/dev/stdout, /proc/self/fd/1), as with runc.

Images whose log files are links to /dev/stdout (nginx) rely on it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from nodeagent.runtime.interface import ExecConfig, Handle, IdRange, Terminal
from tests.support.runtimes import DEADLINE, Node, end, kill, run

IDS = IdRange(1 << 20, 1 << 16)
USERS = (0, 1000)
OUTPUTS = "echo out > /dev/stdout && echo err > /dev/stderr && echo more >> /proc/self/fd/1 && : < /dev/stdin && echo done"


async def in_user_namespace(node: Node) -> dict[str, Any]:
    """What puts a container into a user namespace of its own."""
    return {"sandbox": await node.sandbox("mapped", ids=IDS), "ids": IDS}


async def executed(node: Node, handle: Handle, script: str) -> list[str]:
    """Lines that a command in the container prints on its pipes; its standard input is a pipe too."""
    stdin_read, stdin_write = os.pipe()
    read, write = os.pipe()
    code = await node.runtime.exec(handle, ExecConfig(("sh", "-c", script)), (stdin_read, write, write))
    for descriptor in (stdin_read, stdin_write, write):
        os.close(descriptor)
    with open(read) as file:
        lines = file.read().splitlines()
    return [*lines, str(code)]


async def executed_on_terminal(node: Node, handle: Handle, script: str) -> list[str]:
    """Lines that a command prints on a terminal of the container's."""
    masters: list[int] = []
    running = asyncio.ensure_future(node.runtime.exec(handle, ExecConfig(("sh", "-c", script), True), None, masters.append))
    code = await asyncio.wait_for(running, DEADLINE)
    with open(masters[0], "rb", buffering=0) as master:
        text = await asyncio.to_thread(_to_end, master.read)
    return [*text.decode().split(), str(code)]


def _to_end(read: Callable[[int], bytes]) -> bytes:
    data = b""
    while True:
        try:
            data += read(4096)
        except OSError:
            # EIO: no process has the other end open any more.
            return data


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("stdin", [False, True])
async def test_a_user_opens_its_streams_by_name(container: Node, user: int, stdin: bool) -> None:
    """Also standard input, a pipe or /dev/null."""
    _, lines = await run(container, "sh", "-c", OUTPUTS, user=user, group=user, terminal=Terminal(stdin=stdin))
    assert sorted(lines) == ["stderr F err", "stdout F done", "stdout F more", "stdout F out"]


@pytest.mark.parametrize("user", USERS)
async def test_a_user_opens_its_terminal_by_name(container: Node, user: int) -> None:
    """Every stream, the controlling terminal and the console are one terminal, which belongs to the user."""
    script = f"{OUTPUTS} && echo tty > /dev/tty && echo console > /dev/console && stat -c %u $(tty)"
    _, lines = await run(container, "sh", "-c", script, user=user, group=user, terminal=Terminal(stdin=True, tty=True))
    assert [line.rstrip("\r").split()[2] for line in lines] == ["out", "err", "more", "done", "tty", "console", str(user)]


@pytest.mark.parametrize("user", USERS)
async def test_a_command_opens_its_streams_by_name(container: Node, user: int) -> None:
    """exec with pipes and with a terminal."""
    handle = await container.runtime.start(container.bundle("sleep", "1000", user=user, group=user))
    assert await executed(container, handle, OUTPUTS) == ["out", "err", "more", "done", "0"]
    shown = await executed_on_terminal(container, handle, f"{OUTPUTS} && echo tty > /dev/tty && stat -c %u $(tty)")
    assert shown == ["out", "err", "more", "done", "tty", str(user), "0"]
    kill(handle)
    await end(container, handle)


async def test_the_host_devices_keep_their_owner(container: Node) -> None:
    """A stream that is not a pipe of the container's own is not given away."""
    before = os.stat("/dev/null")
    handle = await container.runtime.start(container.bundle("sleep", "1000", user=1000))
    with open(os.devnull, "r+b") as null:
        assert await container.runtime.exec(handle, ExecConfig(("true",)), (null.fileno(),) * 3) == 0
    kill(handle)
    await end(container, handle)
    assert (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_gid) == (before.st_uid, before.st_gid)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("container", ["native"], indirect=True)
async def test_streams_belong_to_the_user_of_a_user_namespace(container: Node, user: int) -> None:
    """Main process, exec, and both with a terminal."""
    mapped = await in_user_namespace(container)
    _, lines = await run(container, "sh", "-c", OUTPUTS, user=user, group=user, **mapped)
    assert sorted(lines) == ["stderr F err", "stdout F done", "stdout F more", "stdout F out"]
    terminal = Terminal(stdin=True, tty=True)
    _, lines = await run(container, "sh", "-c", f"{OUTPUTS} && echo x > /dev/console", user=user, terminal=terminal, **mapped)
    assert [line.rstrip("\r").split()[2] for line in lines] == ["out", "err", "more", "done", "x"]
    handle = await container.runtime.start(container.bundle("sleep", "1000", user=user, group=user, **mapped))
    assert await executed(container, handle, OUTPUTS) == ["out", "err", "more", "done", "0"]
    shown = await executed_on_terminal(container, handle, f"{OUTPUTS} && stat -c %u $(tty)")
    assert shown == ["out", "err", "more", "done", str(user), "0"]
    kill(handle)
    await end(container, handle)
