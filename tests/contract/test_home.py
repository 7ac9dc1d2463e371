"""HOME is what the container's /etc/passwd says of its user, in every process that is started (runc's rule)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from nodeagent.runtime.interface import ExecConfig, Handle, Mount
from tests.support.runtimes import DEADLINE, Node, end, kill, run

PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1500:1600::/home/app:/bin/sh\nalso:x:1500:1:::\nempty:x:7:7:::\nshort:x:8:8\n"


@pytest.fixture
async def image(container: Node) -> Node:
    """A node whose image has users."""
    (container.folder / "rootfs/etc/passwd").write_text(PASSWD)
    return container


async def executed(node: Node, handle: Handle, command: str) -> str:
    read, write = os.pipe()
    with open(os.devnull) as null:
        running = node.runtime.exec(handle, ExecConfig(("sh", "-c", command)), (null.fileno(), write, write))
        assert await asyncio.wait_for(running, DEADLINE) == 0
    os.close(write)
    with open(read) as file:
        return file.read()


async def home_of(node: Node, user: int, *env: str) -> str:
    _, lines = await run(node, "sh", "-c", "echo HOME=$HOME", user=user, env=("PATH=/bin", *env))
    return lines[0].removeprefix("stdout F HOME=")


@pytest.mark.parametrize(
    ("user", "env", "home"), [(0, (), "/root"), (1500, (), "/home/app"), (1500, ("HOME=/given",), "/given")]
)
async def test_the_home_of_a_user(image: Node, user: int, env: tuple[str, ...], home: str) -> None:
    """By its ID; what the manifest or the image says comes first."""
    assert await home_of(image, user, *env) == home


@pytest.mark.parametrize("container", ["native"], indirect=True)
@pytest.mark.parametrize(
    ("user", "env", "home"), [(7, (), "/"), (8, (), "/"), (4711, (), "/"), (1500, ("HOME=",), "/home/app")]
)
async def test_a_user_without_a_home(image: Node, user: int, env: tuple[str, ...], home: str) -> None:
    """Has the root; OCI runtimes differ from each other there. An empty variable counts as none."""
    assert await home_of(image, user, *env) == home


async def test_users_that_come_with_a_volume_or_later(image: Node, tmp_path: Path) -> None:
    """A file mounted in place of the image's counts, and for a command what is there by then."""
    passwd = tmp_path / "passwd"
    passwd.write_text("vol:x:1500:1600::/volume:/bin/sh\n")
    mounts = (Mount(str(passwd), "/etc/passwd"),)
    _, lines = await run(image, "sh", "-c", "echo $HOME", user=1500, mounts=mounts, env=("PATH=/bin",))
    assert lines == ["stdout F /volume"]
    handle = await image.runtime.start(image.bundle("sleep", "1000", user=1500, mounts=mounts, env=("PATH=/bin",)))
    assert await executed(image, handle, "echo $HOME") == "/volume\n"
    passwd.write_text("own:x:1500:0::/later:/bin/sh\n")
    assert await executed(image, handle, "echo $HOME") == "/later\n"
    kill(handle)
    await end(image, handle)


@pytest.mark.parametrize("hostile", ["fifo", "link", "endless", "folder"])
@pytest.mark.parametrize("container", ["native"], indirect=True)
async def test_a_hostile_passwd_delays_no_start_and_shows_nothing(image: Node, hostile: str) -> None:
    """A pipe, a link to a descriptor of ours, a device without end, a directory."""
    path = image.folder / "rootfs/etc/passwd"
    path.unlink()
    match hostile:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/proc/self/fd/3")
        case "endless":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    _, lines = await run(image, "sh", "-c", "echo $HOME", user=1500, env=("PATH=/bin",))
    assert lines == ["stdout F /"]
