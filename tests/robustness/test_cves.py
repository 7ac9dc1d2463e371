"""The attacks of past container escapes, each tried through a real container. docs/design/isolation.md has the table."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from nodeagent.launcher.sandbox import whole
from nodeagent.linux.capabilities import DEFAULT
from nodeagent.runtime.interface import IdRange, Mount, SandboxConfig, StartError
from tests.support.boxes import ROOT, Boxes, boxes

pytestmark = pytest.mark.root
IDS = IdRange(901 * 65536, 65536)


@pytest_asyncio.fixture
async def box() -> AsyncIterator[Boxes]:
    async with boxes("t-cve") as found:
        yield found


def layered(box: Boxes, layer: Path) -> tuple[str, ...]:
    return (str(layer), str(box.image))


# CVE-2024-21626: a descriptor of the host, reached through the working directory.


async def test_cve_2024_21626_working_directory(box: Boxes) -> None:
    """An image whose WORKDIR names a descriptor starts nowhere outside its root, whichever number it guesses."""
    (box.folder / "secret").write_text("of the host")
    sandbox = await box.sandbox()
    script = "cat ../../../../../../../../../tmp/*/secret; cat ./secret; true"
    refused = 0
    for number in range(3, 16):
        try:
            ran = await box.run(sandbox, "sh", "-c", script, cwd=f"/proc/self/fd/{number}")
        except StartError:
            refused += 1
        else:
            assert "of the host" not in ran.out
    assert refused > 0


async def test_cve_2024_21626_descriptors(box: Boxes) -> None:
    """Program and exec have the three standard descriptors and no other, in any kind of container."""
    for sandbox in (await box.sandbox(), await box.sandbox(ids=IDS)):
        handle = await box.start(sandbox, "sleep", "60")
        listing = ("sh", "-c", "ls -l /proc/self/fd 2>/dev/null | grep -v ' -> /proc/' | grep -c -e '->'; true")
        assert await box.shell(sandbox, listing[2]) == "3\n"
        assert (await box.exec(handle, *listing)).out == "3\n"
        assert len(os.listdir(f"/proc/{handle.pid}/fd")) == 3


# CVE-2025-31133: masks made of whatever is at /dev/null.


async def test_cve_2025_31133_null_device(box: Boxes) -> None:
    """An image's own /dev/null, a symlink to a file to be revealed, is not what masks are made of."""
    layer = box.add_layer()
    (layer / "dev").mkdir()
    (layer / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    script = "cat /proc/keys /proc/timer_list; stat -c %F /dev/null; echo x > /proc/sys/kernel/core_pattern"
    ran = await box.run(await box.sandbox(), "sh", "-c", script, layers=layered(box, layer))
    assert ran.out == "character special file\n"
    assert "Read-only file system" in ran.err


async def test_cve_2025_31133_masks_are_the_null_device(box: Boxes) -> None:
    """Seen from the host: what covers a masked file is the device 1:3."""
    handle = await box.start(await box.sandbox(), "sleep", "60")
    status = os.stat(f"/proc/{handle.pid}/root/proc/keys")
    assert stat.S_ISCHR(status.st_mode)
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (1, 3)


# CVE-2025-52565: /dev/console mounted over what an image made of it or of /dev/pts.


async def test_cve_2025_52565_console(box: Boxes) -> None:
    """Symlinks at /dev/console, /dev/pts and /dev/ptmx lead nowhere: /dev is made anew."""
    target = box.folder / "target"
    target.write_text("as it was")
    layer = box.add_layer()
    (layer / "dev").mkdir()
    for name in ("console", "pts", "ptmx"):
        (layer / "dev" / name).symlink_to("/proc/sysrq-trigger" if name == "console" else f"/../../..{target}")
    script = "ls /dev/console 2>/dev/null; stat -c '%F' /dev/pts; mount | grep -c sysrq-trigger; readlink /dev/ptmx; true"
    said = await box.shell(await box.sandbox(), script, layers=layered(box, layer))
    masked = "1" if Path("/proc/sysrq-trigger").exists() else "0"
    assert said.splitlines() == ["directory", masked, "pts/ptmx"]
    assert target.read_text() == "as it was"


# CVE-2025-52881 and CVE-2019-19921: writes to /proc that land elsewhere.


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
async def test_cve_2025_52881_symlinked_file_systems(box: Boxes, name: str) -> None:
    """Where an image has a symlink in place of /proc, /sys or /dev, the real one is mounted and the symlink is gone."""
    layer = box.add_layer()
    (layer / name).symlink_to("/tmp/elsewhere")
    (layer / "tmp/elsewhere/self/attr").mkdir(parents=True)
    script = f"readlink /{name}; ls /tmp/elsewhere; mount | grep -c ' on /{name} '"
    assert await box.shell(await box.sandbox(), script, layers=layered(box, layer)) == "self\n1\n"


@pytest.mark.parametrize("target", ["/proc", "/proc/self", "/proc/sys/kernel", "/proc/self/attr/exec", "/link/attr"])
async def test_cve_2025_52881_mounts_on_proc(box: Boxes, target: str) -> None:
    """No volume is mounted on /proc or below, by whatever name: writes of the runtime's could land in it."""
    volume = box.folder / "volume"
    volume.mkdir()
    layer = box.add_layer()
    (layer / "link").symlink_to("/proc/1")
    with pytest.raises(StartError):
        await box.start(
            await box.sandbox(), "true", layers=layered(box, layer), mounts=(Mount(str(volume), target),),
        )  # fmt: skip


async def test_cve_2025_52881_sysctls_are_written_to_a_procfs(box: Boxes) -> None:
    """A pod's kernel parameters are set in its own namespaces, and the host's stay."""
    name = "net.ipv4.ip_unprivileged_port_start"
    path = "/proc/sys/" + name.replace(".", "/")
    before = Path(path).read_text()
    for ids in (None, IDS):
        sandbox = await box.sandbox(ids=ids, sysctls=((name, "77"), ("kernel.shm_rmid_forced", "1")))
        assert await box.shell(sandbox, f"cat {path} /proc/sys/kernel/shm_rmid_forced") == "77\n1\n"
    assert Path(path).read_text() == before
    for bad in (("net.ipv4.none", "1"), ("net/../kernel/core_pattern", "x"), (name, "many")):
        with pytest.raises(StartError, match="sysctl"):
            await box.sandbox(sysctls=(bad,))


# CVE-2026-41579: an image's /dev is a symlink.


async def test_cve_2026_41579_dev_symlink(box: Boxes) -> None:
    """/dev of the image leads out of the root: nothing is made, removed or mounted where it points."""
    host = box.folder / "host"
    host.mkdir()
    (host / "null").write_text("as it was")
    for link in (f"{host}", f"../../../../../../../../{host}", "/proc/1/root/tmp"):
        layer = box.add_layer()
        (layer / "dev").symlink_to(link)
        said = await box.shell(await box.sandbox(), "stat -c %F /dev/null; readlink /dev; true", layers=layered(box, layer))
        assert said == "character special file\n"
        assert [path.name for path in host.iterdir()] == ["null"]
        assert (host / "null").read_text() == "as it was"


# CVE-2022-24769: inheritable capabilities.


@pytest.mark.parametrize("user", [0, 1000])
async def test_cve_2022_24769_inheritable_capabilities(box: Boxes, user: int) -> None:
    """Inheritable and ambient sets are empty, so that a program with file capabilities gains none by them."""
    sandbox = await box.sandbox()
    settings = {"user": user, "group": user, "capabilities": (*DEFAULT, "NET_ADMIN")}
    handle = await box.start(sandbox, "sleep", "60", **settings)
    script = "grep -E 'Cap(Inh|Amb)' /proc/self/status"
    empty = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n"
    assert await box.shell(sandbox, script, **settings) == empty
    assert (await box.exec(handle, "sh", "-c", script)).out == empty


async def test_a_user_has_no_capabilities(box: Boxes) -> None:
    """What a container adds is root's; another user has it bounded and not at hand, in a user namespace too."""
    for sandbox in (await box.sandbox(), await box.sandbox(ids=IDS)):
        said = await box.shell(sandbox, "grep -E 'Cap(Prm|Eff)' /proc/self/status", user=1000, group=1000)
        assert re.findall(r"\t(\w+)", said) == ["0" * 16, "0" * 16]


# CVE-2017-1002101 and CVE-2021-25741: sub paths that lead out of their volume.


@pytest.mark.parametrize("link", ["{host}", "../host", "inside/../../host", "/proc/self/root/{host}"])
async def test_cve_2017_1002101_sub_path_symlinks(box: Boxes, link: str) -> None:
    """A symlink that another container put in the volume leads to nothing of the host's."""
    host, volume = box.folder / "host", box.folder / "volume"
    for folder in (host, volume, volume / "inside"):
        folder.mkdir()
    (host / "secret").write_text("of the host")
    (volume / "sub").symlink_to(link.format(host=host))
    mounts = (Mount(str(volume), "/data", sub_path="sub"),)
    with pytest.raises(StartError, match="leads out of its volume"):
        await box.start(await box.sandbox(), "cat", "/data/secret", mounts=mounts)


@pytest.mark.parametrize("path", ["..", "a/../../host", "../volume/../host"])
async def test_a_sub_path_does_not_climb(box: Boxes, path: str) -> None:
    """The runtime refuses it too, whoever let it pass."""
    (box.folder / "volume").mkdir()
    with pytest.raises(StartError, match=r"contains '\.\.'"):
        await box.start(await box.sandbox(), "true", mounts=(Mount(str(box.folder / "volume"), "/data", sub_path=path),))


async def test_cve_2021_25741_exchanged_sub_path(box: Boxes) -> None:
    """A folder and a symlink to the host take each other's place all the while: the container sees the volume or nothing."""
    host, volume = box.folder / "host", box.folder / "volume"
    for folder in (host, volume, volume / "a", volume / "a/deep"):
        folder.mkdir()
    (host / "deep").mkdir()
    (host / "deep/secret").write_text("of the host")
    (volume / "b").symlink_to(host)
    program = (
        "import ctypes, sys\nlibc = ctypes.CDLL(None)\na, b = (name.encode() for name in sys.argv[1:])\n"
        "for _ in range(400_000): libc.syscall(316, -100, a, -100, b, 2)\n"
    )
    if platform.machine() == "aarch64":
        program = program.replace("316", "276")
    sandbox = await box.sandbox()
    attacker = subprocess.Popen([sys.executable, "-c", program, str(volume / "a"), str(volume / "b")])
    try:
        outcomes = set()
        for _ in range(30):
            mounts = (Mount(str(volume), "/data", sub_path="a/deep"),)
            try:
                outcomes.add((await box.run(sandbox, "sh", "-c", "cat /data/secret; ls -a /data", mounts=mounts)).out)
            except StartError:
                outcomes.add("refused")
    finally:
        attacker.kill()
        attacker.wait()
    assert outcomes <= {".\n..\n", "refused"}


async def test_sub_paths_inside_the_volume_work(box: Boxes) -> None:
    """A file, a folder behind a symlink of the volume's own, and a missing folder, made with the volume's mode."""
    volume = box.folder / "volume"
    (volume / "real").mkdir(parents=True)
    volume.chmod(0o2775)
    (volume / "real/file").write_text("found\n")
    (volume / "link").symlink_to("real")
    mounts = (
        Mount(str(volume), "/file", sub_path="link/file"), Mount(str(volume), "/folder", sub_path="./link//"),
        Mount(str(volume), "/made", sub_path="new/er"),
    )  # fmt: skip
    assert await box.shell(await box.sandbox(), "cat /file /folder/file; touch /made/x", mounts=mounts) == "found\nfound\n"
    assert [stat.S_IMODE((volume / name).stat().st_mode) for name in ("new", "new/er")] == [0o2775, 0o2775]
    assert (volume / "new/er/x").exists()


# CVE-2019-5736: the runtime's own program, overwritten through /proc/self/exe.


async def test_cve_2019_5736_own_program(box: Boxes) -> None:
    """A container has the host's Python run instead of its program, with a loader of its own: it cannot be written to."""
    python = os.path.realpath(sys.executable)
    loader = re.search(r"interpreter: (/\S+?)]", subprocess.check_output(["readelf", "-l", python], text=True))
    assert loader is not None
    layer = box.add_layer()
    target = layer / loader[1].lstrip("/")
    target.parent.mkdir(parents=True)
    source = str(ROOT / "tests/support/overwrite.c")
    flags = ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie", "-O1"]
    subprocess.run(["gcc", *flags, "-o", str(target), source], check=True, timeout=30)
    (layer / "bin").mkdir(exist_ok=True)
    (layer / "bin/again").write_text("#!/proc/self/exe\n")
    (layer / "bin/again").chmod(0o755)
    sandbox = await box.sandbox()
    assert (await box.run(sandbox, "/proc/self/exe", layers=layered(box, layer))).out == "read-only\n"
    handle = await box.start(sandbox, "sleep", "60", layers=layered(box, layer))
    assert (await box.exec(handle, "/bin/again")).out == "read-only\n"


# CVE-2016-9962: a process that enters a container, traced from inside before it has given up what it holds.


async def test_cve_2016_9962_entering_process(box: Boxes) -> None:
    """A container with SYS_PTRACE watches for processes that enter it: what it can look into has only what it has."""
    sandbox = await box.sandbox()
    watch = (
        "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue; "
        "ls -l $p/fd 2>/dev/null | grep -E -e '-> /(tmp/box|work|var/lib)'; done; done"
    )
    handle = await box.start(sandbox, "sh", "-c", watch, capabilities=(*DEFAULT, "SYS_PTRACE"))
    for _ in range(20):
        assert (await box.exec(handle, "true")).code == 0
    assert (handle.bundle / "log").read_text() == ""


async def test_cve_2016_9962_starting_beside_a_tracer(box: Boxes) -> None:
    """The same, where containers share their processes: one that starts is seen from its first moment in there. Neither its
    descriptors nor its root are ever the host's, and a process that waits to be traced has no power of the host's."""
    sandbox = await box.sandbox(shared_pid=True)
    here = box.folder / "host"
    here.touch()
    watch = (
        "while :; do for p in /proc/[0-9]*; do "
        f"ls -l $p/fd 2>/dev/null | grep -E -e '-> /(tmp/|work|var/lib|sys|proc/[a-z])'; [ -e $p/root{here} ] && echo root of $p; "
        "done; done"
    )
    handle = await box.start(sandbox, "sh", "-c", watch, pid_namespace="pod", capabilities=(*DEFAULT, "SYS_PTRACE"))
    for _ in range(20):
        assert "pause" in await box.shell(sandbox, "cat /proc/[0-9]*/comm 2>/dev/null; true", pid_namespace="pod")
    assert (handle.bundle / "log").read_text() == ""


@pytest.mark.parametrize("ids", [None, IDS])
async def test_beside_another_container_procfs_is_its_namespace_s(box: Boxes, ids: IdRange | None) -> None:
    """An ephemeral container sees the processes of its target and the masks of its own; a target that has put something
    else on its /proc is not believed."""
    sandbox = await box.sandbox(ids=ids)
    target = await box.start(sandbox, "sleep", "60")
    beside = {"pid_namespace": "container", "pid_target": (target.pid, target.pid_start)}
    ran = await box.run(sandbox, "sh", "-c", "cat /proc/1/comm; cat /proc/keys; grep -c ' /proc/keys ' /proc/mounts", **beside)
    assert ran.out.splitlines()[0] == "sleep"
    assert int(ran.out.splitlines()[1]) >= 1
    liar = await box.start(sandbox, "sh", "-c", "mount -t tmpfs none /proc; echo done; sleep 60", seccomp="",
                           capabilities=(*DEFAULT, "SYS_ADMIN"))  # fmt: skip
    async with asyncio.timeout(20):
        while "done" not in (liar.bundle / "log").read_text():
            await asyncio.sleep(0.02)
    with pytest.raises(StartError, match="not procfs"):
        await box.start(sandbox, "true", pid_namespace="container", pid_target=(liar.pid, liar.pid_start))


async def test_a_missing_namespace_is_an_error(box: Boxes) -> None:
    """A sandbox without its network namespace does not mean the host's."""
    sandbox = await box.sandbox()
    bundle = box.bundle(sandbox, "true")
    for name in ("net", "uts"):
        subprocess.run(["umount", str(sandbox.folder / "ns" / name)], check=True)
        (sandbox.folder / "ns" / name).unlink()
    with pytest.raises(StartError):
        await box.runtime.start(bundle)


async def test_a_dead_pid_namespace_is_an_error(box: Boxes) -> None:
    """A container of a pod whose PID 1 was killed says so; making the sandbox again is enough."""
    sandbox = await box.sandbox(shared_pid=True, ids=IDS)
    record = sandbox.folder / "reaper"
    os.kill(int(record.read_text().split()[0]), 9)
    while whole(str(sandbox.folder)):
        await asyncio.sleep(0.01)
    with pytest.raises(StartError, match="PID 1"):
        await box.start(sandbox, "true", pid_namespace="pod")
    await box.runtime.create_sandbox(sandbox)
    assert whole(str(sandbox.folder))
    assert await box.shell(sandbox, "cat /proc/1/comm", pid_namespace="pod") == "pause\n"


async def test_sandboxes_with_ids_are_their_own(box: Boxes) -> None:
    """Files of one pod's root are nobody's to another pod's root."""
    one, two = await box.sandbox(ids=IDS), await box.sandbox(ids=IdRange(902 * 65536, 65536))
    volume = box.folder / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    mount = Mount(str(volume), "/data", idmap=False)
    await box.shell(one, "echo mine > /data/file; chmod 600 /data/file", mounts=(mount,))
    assert (volume / "file").stat().st_uid == IDS.first
    ran = await box.run(two, "sh", "-c", "cat /data/file; echo x > /data/file; stat -c %u /data/file", mounts=(mount,))
    assert (ran.out, ran.err.count("Permission denied")) == ("65534\n", 2)


async def test_starts_at_once_do_not_disturb_each_other(box: Boxes) -> None:
    """Many containers of one sandbox with user namespaces, together."""
    sandbox: SandboxConfig = await box.sandbox(ids=IDS, shared_pid=True)
    runs = [box.run(sandbox, "sh", "-c", f"echo {number}", pid_namespace="pod") for number in range(12)]
    assert [ran.out for ran in await asyncio.gather(*runs)] == [f"{number}\n" for number in range(12)]
