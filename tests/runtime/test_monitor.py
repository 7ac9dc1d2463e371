"""What a container's monitor does for those who are attached to it, seen from inside real containers."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from nodeagent.runtime.interface import ExecConfig, Handle, Mount, StartError, Terminal
from nodeagent.streams.attach import Attachment
from tests.support.awaiting import eventually
from tests.support.containers import Host, host

pytestmark = pytest.mark.root
TALK = Terminal(stdin=True)
ONCE = Terminal(stdin=True, once=True)
TTY = Terminal(stdin=True, tty=True)
MEBIBYTE = 1 << 20


@pytest_asyncio.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path) as found:
        yield found


async def until(attachment: Attachment, text: bytes) -> bytes:
    """All that is said up to `text`."""
    said = b""
    async with asyncio.timeout(20):
        while text not in said:
            output = await attachment.read()
            assert output is not None, said
            said += output.data
    return said


async def rest(attachment: Attachment) -> bytes:
    said = b""
    async with asyncio.timeout(20):
        while (output := await attachment.read()) is not None:
            said += output.data
    return said


async def code(machine: Host, handle: Handle) -> int:
    return (await asyncio.wait_for(machine.runtime.wait(handle), 20)).code


def logged(handle: Handle) -> str:
    lines = (handle.bundle / "log").read_text().splitlines()
    return "\n".join(line.split(" ", 3)[3] for line in lines)


async def test_input_output_and_log(machine: Host) -> None:
    """What is said goes to both clients and the log; streams stay apart; a client that leaves ends nothing."""
    handle = await machine.start("sh", "-c", "while read x; do echo got $x; echo err $x >&2; done; exit 4", terminal=TALK)
    first = await Attachment.open(handle, stdin=True)
    second = await Attachment.open(handle, stdin=False)
    await first.write(b"one\n")
    assert b"got one\n" in await until(first, b"err one\n")
    await until(second, b"err one\n")
    first.close()
    third = await Attachment.open(handle, stdin=True)
    await third.write(b"two\n")
    await until(third, b"err two\n")
    await third.close_input()
    await third.write(b"three\n")
    await until(third, b"err three\n")
    assert sorted(logged(handle).split("\n")) == sorted(f"{a} {b}" for a in ("got", "err") for b in ("one", "two", "three"))
    for item in (second, third):
        item.close()


@pytest.mark.parametrize("how", ["close_input", "close"])
async def test_stdin_once_ends_with_its_first_session(machine: Host, how: str) -> None:
    """By half-close or by leaving; what was sent before is read first."""
    handle = await machine.start("sh", "-c", "cat; echo eof; exit 6", terminal=ONCE)
    watcher = await Attachment.open(handle, stdin=False)
    attachment = await Attachment.open(handle, stdin=True)
    await attachment.write(b"x" * 300_000 + b"\n")
    if how == "close":
        await until(attachment, b"x\n")
        attachment.close()
    else:
        await attachment.close_input()
    assert await rest(watcher) == b"x" * 300_000 + b"\neof\n"
    assert await code(machine, handle) == 6
    attachment.close()
    watcher.close()


async def test_no_stdin_reads_end_of_file(machine: Host) -> None:
    """A container without stdin does not wait, and takes no input."""
    handle = await machine.start("sh", "-c", "cat; echo eof; sleep 600")
    attachment = await Attachment.open(handle, stdin=True)
    await attachment.write(b"ignored\n")
    await eventually(lambda: logged(handle) == "eof")
    attachment.close()


async def test_terminal_is_the_containers_own(machine: Host) -> None:
    """`tty` names it, /dev/console is it, it belongs to the user, and it takes our size; SIGWINCH tells the program."""
    handle = await machine.start("sh", terminal=TTY, user=1000, group=1000)
    attachment = await Attachment.open(handle, stdin=True)
    await attachment.resize(99, 40)
    await attachment.write(b"tty; stty size; stat -c %t:%T /dev/console; stat -c %u /dev/pts/0; echo do'ne'\n")
    said = await until(attachment, b"done\r\n")
    for text in (b"/dev/pts/0", b"40 99", b"88:0", b"1000"):
        assert text in said
    # A shell of its own: an interactive one is not in the foreground while its jobs run.
    await attachment.write(b"sh -c \"trap 'stty size; echo chan''ged' WINCH; echo rea''dy; while :; do sleep 0.1; done\"\n")
    await until(attachment, b"ready\r\n")
    await attachment.resize(80, 25)
    assert b"25 80" in await until(attachment, b"changed")
    await attachment.write(b"\x03")
    await attachment.write(b"exit 9\n")
    await rest(attachment)
    assert await code(machine, handle) in (9, 130)
    attachment.close()


@pytest.mark.parametrize("trap", ["file", "link", "device"])
async def test_a_terminal_that_is_none_is_refused(machine: Host, tmp_path: Path, trap: str) -> None:
    """What a volume puts where /dev/pts/ptmx should be is neither written to nor followed (CVE-2025-52565)."""
    folder = tmp_path / "pts"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    if trap == "file":
        (folder / "ptmx").write_text("x")
    elif trap == "link":
        (folder / "ptmx").symlink_to("/proc/self/fd/3")
    else:
        os.mknod(folder / "ptmx", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with pytest.raises(StartError):
        await machine.start("sh", terminal=TTY, mounts=(Mount(str(folder), "/dev/pts"),))
    assert victim.read_text() == "mine"


async def test_a_console_of_a_volumes_stays(machine: Host, tmp_path: Path) -> None:
    """It is not mounted over, and what a link there names on the host is not touched."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    handle = await machine.start("cat", terminal=TTY, mounts=(Mount(str(victim), "/dev/console"),))
    attachment = await Attachment.open(handle, stdin=True)
    await attachment.write(b"hello\n")
    await until(attachment, b"hello\r\nhello\r\n")
    attachment.close()
    assert victim.read_text() == "mine"


async def test_exec_has_a_terminal_of_the_containers(machine: Host) -> None:
    """Several, each with a name of its own; no descriptor of the node's devpts is inside."""
    handle = await machine.start("sleep", "600")
    masters: list[int] = []
    said: list[bytes] = []
    for _ in range(2):
        running = asyncio.ensure_future(
            machine.runtime.exec(handle, ExecConfig(("sh", "-c", "tty; read x"), tty=True), None, masters.append)
        )
        async with asyncio.timeout(10):
            while len(masters) == len(said):
                await asyncio.sleep(0.01)
        said.append(await asyncio.to_thread(os.read, masters[-1], 100))
        os.write(masters[-1], b"\n")
        assert await running == 0
    for master in masters:
        os.close(master)
    assert said == [b"/dev/pts/0\r\n", b"/dev/pts/1\r\n"]


async def test_a_client_that_does_not_read_holds_up_nothing(machine: Host) -> None:
    """The log has every line while the client slept; then it is told how much it missed, and goes on."""
    lines = 40_000
    script = f"awk 'BEGIN {{ for (i = 0; i < {lines}; i++) printf \"%063d\\n\", i }}'; touch /tmp/done; read x; echo $x"
    handle = await machine.start("sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.05; done; " + script + "; sleep 600")
    attachment = await Attachment.open(handle, stdin=False)
    with open("/dev/null") as null:
        await machine.runtime.exec(handle, ExecConfig(("touch", "/tmp/go")), (null.fileno(),) * 3)
    async with asyncio.timeout(30):
        while logged(handle).count("\n") < lines:
            await asyncio.sleep(0.1)
    read, missed = 0, 0
    async with asyncio.timeout(20):
        while read + missed < lines * 64:
            output = await attachment.read()
            assert output is not None
            read, missed = read + len(output.data), missed + output.missed
            if not missed and read > 100 and read + missed < lines * 64 and not attachment._reader._buffer:  # type: ignore[attr-defined]
                break
    attachment.close()
    assert read < MEBIBYTE
    assert [int(line) for line in logged(handle).split("\n")[:lines]] == list(range(lines))


async def test_a_slow_client_of_an_interactive_container_misses_nothing(machine: Host) -> None:
    """It is waited for as long as it takes some: what `tcpdump -w -` writes arrives whole."""
    size = 6 * MEBIBYTE
    handle = await machine.start("sh", "-c", f"read x; head -c {size} /dev/zero; exit 3", terminal=TALK)
    attachment = await Attachment.open(handle, stdin=True)
    await attachment.write(b"go\n")
    total = 0
    while (output := await attachment.read()) is not None:
        assert not output.missed
        total += len(output.data)
        await asyncio.sleep(0.01)
    assert total == size
    assert await code(machine, handle) == 3
    attachment.close()


async def test_attaching_again_and_again_leaves_nothing(machine: Host) -> None:
    """The monitor's descriptors are as many afterwards; more clients than it takes wait their turn."""
    handle = await machine.start("cat", terminal=TALK)
    before = len(os.listdir(f"/proc/{handle.monitor}/fd"))
    for _ in range(3):
        clients = [await Attachment.open(handle, stdin=True) for _ in range(12)]
        await clients[0].write(b"hello\n")
        for client in clients:
            await until(client, b"hello\n")
            client.close()
    async with asyncio.timeout(10):
        while len(os.listdir(f"/proc/{handle.monitor}/fd")) > before:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("again", [False, True])
async def test_a_start_that_was_given_up_does_not_end_in_the_next(machine: Host, tmp_path: Path, again: bool) -> None:
    """An agent that has waited long enough discards the bundle and begins again in the same place: what still comes of the
    first start is ended, and writes nothing there."""
    # Opened by the container's first process, which waits until somebody writes.
    slow = tmp_path / "slow"
    os.mkfifo(slow)
    starting = asyncio.ensure_future(machine.start("sleep", "60", seccomp=str(slow)))
    config = tmp_path / "c1/config.json"
    async with asyncio.timeout(20):
        while not (tmp_path / "c1/attach.sock").exists():
            await asyncio.sleep(0.01)
    text = config.read_text()
    config.unlink()
    if again:
        config.write_text(text)
    # No filter: an empty one is refused, so it is one instruction that allows everything.
    await asyncio.to_thread(slow.write_bytes, struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
    with pytest.raises(StartError, match="given up"):
        await starting
    assert not (tmp_path / "c1/state.json").exists()
    folder = machine.cgroups.folders("pod/c1")[0]
    assert not (Path(folder) / "cgroup.procs").read_text()
