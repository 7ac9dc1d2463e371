"""Layers are unpacked by a process of their own: what a hostile one uses up, it uses up there, and the node goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.images import layertree, unpacking
from nodeagent.images import unpack as unpack_module
from nodeagent.images.store import ImageStore
from nodeagent.images.unpacking import Unpacker
from nodeagent.linux import syscalls
from nodeagent.linux.diskusage import size_of
from pinnace.oci import BadImage
from tests.support import archives
from tests.support.archives import digest, layer, member
from tests.support.labs import PATIENCE

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture
def unpacker() -> Iterator[Unpacker]:
    found = Unpacker()
    yield found
    found.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def packed(name: str, mebibytes: int, kind: bytes = tarfile.REGTYPE, byte: bytes = b"\0") -> bytes:
    """A gzip of a tar of one member, whose content is `byte` again and again: a thousandth of it."""
    return (
        gzip.compress(header(name, mebibytes * MIB, kind)) + gzip.compress(byte * MIB) * mebibytes + gzip.compress(bytes(1024))
    )


def running(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return False


def forks(pid: int) -> list[int]:
    """The processes that an unpacker has made."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(item) for item in found if running(int(item))]


async def forked(unpacker: Unpacker) -> int:
    """The process that works, once it does."""
    for _ in range(4000):
        if unpacker.pid and (found := forks(unpacker.pid)):
            return found[0]
        await asyncio.sleep(0.005)
    raise AssertionError("no process unpacks")


async def gone(pid: int) -> None:
    for _ in range(1000):
        if not running(pid):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


async def test_an_extended_header_of_600_mb_is_refused_and_costs_the_agent_nothing(tmp_path: Path) -> None:
    """The attack itself: less than a megabyte on the wire. The error names the layer; nothing of the image is kept."""
    store = ImageStore(tmp_path / "images")
    attack = packed("././@PaxHeader", 600, tarfile.XHDTYPE)
    assert len(attack) < MIB
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "ab" * 32]}}).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadImage, match=r"^layer sha256:abababababab: an extended header .* has 629145600 bytes"):
        await store.load(archives.docker(tmp_path / "a.tar", attack, config=config), "")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10
    assert not list(store.incoming.iterdir())
    assert not list((tmp_path / "images/layers").iterdir())
    store.close()


ATTACKS = {
    "long name": (packed("a", 64, tarfile.GNUTYPE_LONGNAME), "an extended header"),
    "17 GiB": (gzip.compress(header("a", 17 << 30)), "more than 500000 members or 16 GiB"),
    "no tar": (gzip.compress(b"text" * 1000), "not a tar archive"),
    "cut": (gzip.compress(layer(("a", "x" * 5000)))[:-30], "its compression is damaged"),
    "garbage after it": (gzip.compress(layer(("a", "a"))) + b"garbage", "its compression is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_bomb_is_refused_by_name(unpacker: Unpacker, directory: Path, name: str) -> None:
    """And the next layer is unpacked by the same process."""
    data, said = ATTACKS[name]
    with pytest.raises(BadImage, match=f"^layer x.*{said}"):
        await unpacker.unpack(io.BytesIO(data), directory, name="layer x")
    os.rename(directory, f"{directory}.old")
    directory.mkdir()
    assert (await unpacker.unpack(io.BytesIO(layer(("a", "good"))), directory, name="layer y")).size == 4


def test_content_that_packs_too_well_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is bounded by what came, beyond what any layer may."""
    monkeypatch.setattr(unpack_module, "FREE_BYTES", MIB)
    data = gzip.decompress(packed("a", 3, byte=b"a"))
    with pytest.raises(BadImage, match="layer x: 'a': it unpacks to more than 250 times its packed size"):
        unpack_module.unpack(io.BytesIO(data), str(directory), "layer x", packed=3000)
    (directory / "a").unlink()
    unpack_module.unpack(io.BytesIO(data), str(directory), "layer x", packed=30_000)


def test_directories_that_no_member_names_count(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of 240 parts makes as many; two thousand of them would be half a million."""
    monkeypatch.setattr(layertree, "MAX_INODES", 1000)
    data = layer(*(member(f"{number}/" + "d/" * 240, tarfile.DIRTYPE) for number in range(10)))
    with pytest.raises(BadImage, match=r"layer x: '4/d/d/.*: more than 1000 files and directories"):
        unpack_module.unpack(io.BytesIO(data), str(directory), "layer x")


async def test_zeros_take_no_disk(unpacker: Unpacker, directory: Path) -> None:
    """A file of 300 MiB of them is as it should be, and a hole."""
    assert (await unpacker.unpack(io.BytesIO(packed("a", 300)), directory, name="layer")).size == 300 * MIB
    status = (directory / "a").stat()
    assert (status.st_size, status.st_blocks) == (300 * MIB, 0)


async def test_a_full_disk_is_said(unpacker: Unpacker, directory: Path) -> None:
    """With the layer and the member."""
    syscalls.mount("tmpfs", directory, "tmpfs", 0, "size=1m")
    try:
        with pytest.raises(BadImage, match=r"^layer x: 'a': No space left on device$"):
            await unpacker.unpack(io.BytesIO(layer(("a", "x" * 2 * MIB))), directory, name="layer x")
    finally:
        syscalls.umount(directory, syscalls.MNT_DETACH)


async def killed(unpacker: Unpacker, victim: str, place: Path) -> str:
    """What a layer fails with whose process is killed; again where that came too late, as on a busy machine."""
    for number in range(10):
        directory = place / str(number)
        directory.mkdir(parents=True)
        task = asyncio.ensure_future(unpacker.unpack(io.BytesIO(packed("a", 4000)), directory, name="layer x"))
        fork = await forked(unpacker)
        with contextlib.suppress(ProcessLookupError):
            os.kill(fork if victim == "fork" else unpacker.pid, signal.SIGKILL)
        try:
            await task
        except BadImage as error:
            return str(error)
    raise AssertionError("ten layers outlived the process that unpacked them")


async def test_a_killed_process_fails_its_layer_alone(unpacker: Unpacker, tmp_path: Path) -> None:
    """The fork, as the kernel kills when memory ends, and then the unpacker with all its forks."""
    for victim in ("fork", "unpacker"):
        error = await killed(unpacker, victim, tmp_path / f"bomb-{victim}")
        assert re.match(r"layer x: the process that unpacked it (was killed \(signal 9\)|ended)", error)
        good = tmp_path / f"good-{victim}"
        good.mkdir()
        assert (await unpacker.unpack(io.BytesIO(layer(("a", "good"))), good, name="layer y")).size == 4


async def test_a_layer_that_nobody_waits_for_is_not_unpacked_on(unpacker: Unpacker, tmp_path: Path) -> None:
    """Once the cancellation has come through nothing is written any more."""
    bomb = packed("a", 4000)
    (tmp_path / "d").mkdir()
    task = asyncio.ensure_future(unpacker.unpack(io.BytesIO(bomb), tmp_path / "d", name="layer x"))
    fork = await forked(unpacker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(fork)


async def test_a_request_that_is_cancelled_before_it_is_sent_leaves_no_process(directory: Path) -> None:
    """As when another layer of the image is refused: each such image would cost the node a process for good."""
    unpacker, before = Unpacker(), unpackers()
    (directory.parent / "packed").write_bytes(layer(("a", "a")))
    with open(directory.parent / "packed", "rb") as stream:
        task = asyncio.ensure_future(unpacker.unpack(stream, directory, name="layer x"))
        # Now a thread starts the process.
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.get_running_loop().shutdown_default_executor()
    assert unpacker.pid == 0
    await ended(before)


@pytest.mark.parametrize("early", [True, False])
async def test_a_start_that_is_abandoned_ends_the_process(early: bool) -> None:
    """Before it is there, and after that."""
    before, starting = unpackers(), unpacking._Starting()
    if early:
        starting.abandon()
    starting.run(10.0)
    if not early:
        starting.abandon()
    await ended(before)


async def ended(before: set[int]) -> None:
    """No other process is there."""
    async with asyncio.timeout(30 * PATIENCE):
        while unpackers() - before:
            await asyncio.sleep(0.01)


def unpackers() -> set[int]:
    """Pids of the unpackers that this process has started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            status = (path.parent / "stat").read_text().rpartition(")")[2].split()
            if str(unpacking.PROGRAM).encode() in path.read_bytes() and status[1] == str(os.getpid()):
                found.add(int(path.parent.name))
    return found


async def test_the_process_ends_when_nothing_is_unpacked_and_with_the_agent(directory: Path) -> None:
    """After a while, whether or not the agent still holds its socket, or at once when the agent has gone."""
    unpacker = Unpacker(idle=0.05)
    await unpacker.unpack(io.BytesIO(layer(("a", "a"))), directory, name="layer")
    await gone(unpacker.pid)
    program = (
        "import asyncio, io, sys; from pathlib import Path; from nodeagent.images.unpacking import Unpacker\n"
        "unpacker = Unpacker()\n"
        f"asyncio.run(unpacker.unpack(io.BytesIO({gzip.compress(layer())!r}), Path({str(directory)!r}), name='x'))\n"
        "print(unpacker.pid, flush=True); import os; os._exit(0)"
    )
    (directory / "a").unlink()
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    await gone(int(found.stdout))


async def test_no_request_is_lost_to_a_process_that_ends(tmp_path: Path) -> None:
    """Requests that come just when it has been idle for long enough: it does them, or another process does."""
    unpacker, pids = Unpacker(idle=0.01), set()
    try:
        for number in range(40):
            place = tmp_path / str(number)
            place.mkdir()
            assert (await unpacker.unpack(io.BytesIO(layer(("a", "good"))), place, name="layer")).size == 4
            pids.add(unpacker.pid)
            await asyncio.sleep(0.009 + number / 20_000)
    finally:
        unpacker.close()
    assert len(pids) > 1


def test_a_process_that_was_just_started_waits_for_its_request() -> None:
    """However late that is: it is idle only once it has done something."""
    control, pid = unpacking._start(0.01)
    try:
        time.sleep(0.3)
        assert Path(f"/proc/{pid}").exists()
    finally:
        os.close(control)


def test_memory_is_bounded_by_the_kernel(directory: Path) -> None:
    """Whatever asks for more: here a reader that would."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = (
        "import json, socket, sys; from nodeagent.unpacker import work\n"
        "def unpack(stream, *_, **__): return bytearray(700 << 20)\n"
        "work.unpack = unpack\n"
        "packed, directory, recipe, channel = map(int, sys.argv[1:])\n"
        "request = {'name': 'layer x', 'size': 10240, 'offset': 0, 'digest': '', 'whiteouts': True}\n"
        "work.run(request, [packed, directory, recipe], socket.socket(fileno=channel))"
    )
    (directory.parent / "packed").write_bytes(layer())
    files = [
        os.open(directory.parent / "packed", os.O_RDONLY), os.open(directory, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY),
        theirs.fileno(),
    ]  # fmt: skip
    with ours, theirs:
        subprocess.run([sys.executable, "-c", program, *map(str, files)], pass_fds=files, check=True, timeout=60)
        answer = json.loads(ours.recv(4096))
    for file in files[:-1]:
        os.close(file)
    assert answer == {"error": "layer x: to unpack it takes more than 512 MiB of memory"}


async def test_the_directory_is_the_root_of_the_process_that_fills_it(unpacker: Unpacker, directory: Path) -> None:
    """So a member that got past every check would still be in the layer."""
    task = asyncio.ensure_future(unpacker.unpack(io.BytesIO(packed("a", 4000)), directory, name="layer x"))
    fork = await forked(unpacker)
    for _ in range(2000):
        if os.readlink(f"/proc/{fork}/root") != "/":
            break
        await asyncio.sleep(0.005)
    assert os.readlink(f"/proc/{fork}/root") == str(directory)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{fork}/status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    # Neither net_admin nor sys_ptrace, sys_module or kill.
    assert int(status["CapEff"], 16) & (1 << 5 | 1 << 12 | 1 << 16 | 1 << 19) == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_layers_at_once_come_out_right(tmp_path: Path) -> None:
    """Forty, some of them wrong, from a store that unpacks two at a time."""
    store = ImageStore(tmp_path / "images")
    good = [layer((f"file{number}", "x" * number * 100)) for number in range(20)]
    paths = [archives.docker(tmp_path / f"{number}.tar", data, tag=f"good:{number}") for number, data in enumerate(good)]
    config = archives.config_of(layer(("other", "")))
    paths += [
        archives.docker(tmp_path / f"bad{number}.tar", data + bytes(number + 1), config=config, tag=f"bad:{number}")
        for number, data in enumerate(good)
    ]
    results = await asyncio.gather(*(store.load(path, "") for path in paths), return_exceptions=True)
    assert [isinstance(item, BadImage) for item in results] == [False] * 20 + [True] * 20
    assert sorted(path.name for path in (tmp_path / "images/layers").iterdir()) == sorted(digest(data)[7:31] for data in good)
    assert size_of(tmp_path / "images/layers") == sum(number * 100 for number in range(20))
    store.close()
