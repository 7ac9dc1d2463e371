"""A virtual machine with Debian's own kernel over the files of this one: for what the kernel here does not have.

It has cgroup v2 alone, AppArmor, and no network card. Its root is this machine's, read through 9p, with what it writes kept
in memory; so it runs the tests of this checkout with the interpreter that runs this. Emulated: no KVM is needed, and each
test takes some ten times as long.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.support.deathsignal import end_with_parent
from tests.support.labs import ROOT

HERE = Path(__file__).parent
# What deploy/kernel.sh makes.
KERNEL = ROOT / ".vm"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
MEMORY = "3G"
# Bytes, of which few are ever written.
DISK = 8 << 30
BUSYBOX = Path("/bin/busybox")
NICE = -5
# Other processors would interrupt each other for most that the kernel does, which costs an emulator more than they give. Addresses
# that are random are different code to it, which it would translate for each process; the kernel's defences against speculation
# cost it time and defend against nothing. With erms, memory is copied and cleared a byte at a time, which is fast on processors
# alone. None of the tests is about these.
PROCESSORS = "1"
PROCESSOR = "max,erms=off,fsrm=off"
KERNEL_ARGUMENTS = "norandmaps mitigations=off nowatchdog audit=0"
# How many times as long as on the machine itself a test may take.
PATIENCE = 6


@dataclass(frozen=True)
class Ran:
    """A case's exit code, -1 when the machine did not get so far, and all that the machine printed meanwhile."""

    code: int
    said: str


@dataclass(frozen=True)
class Machine:
    """A machine that runs cases one after the other, in their order."""

    process: subprocess.Popen[bytes]
    console: Path

    def ran(self, case: str, within: float) -> Ran:
        """Wait for the end of a case; after so many seconds the machine is switched off, with all later cases."""
        deadline = time.monotonic() + within
        try:
            while not (ended := self._end(case)) and self.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
        except BaseException:
            # Ctrl-C, which does not reach a session of its own, or the end of pytest's patience.
            self.off()
            raise
        late = ""
        if not (ended := ended or self._end(case)):
            late = f"machine: switched off, exit code {self.process.poll()} (None: after {within:.0f} s)\n"
            self.off()
        said = self._said()
        begun = said.find(begins(case))
        return Ran(int(ended[1]) if ended else -1, said[max(begun, 0) : ended.start() if ended else None] + late)

    def comes_to(self, case: str) -> bool:
        """Whether the case has begun, or can: a machine that a case has switched off runs none of the later ones."""
        return self.process.poll() is None or begins(case) in self._said()

    def _end(self, case: str) -> re.Match[str] | None:
        return re.search(rf"^machine: {re.escape(case)} exit (-?\d+)$", self._said(), re.MULTILINE)

    def _said(self) -> str:
        return self.console.read_text(errors="replace").replace("\r", "")

    def off(self) -> None:
        self.process.kill()
        self.process.wait()


def begins(case: str) -> str:
    """The line before the output of a case."""
    return f"machine: {case} begins\n"


@contextlib.contextmanager
def running(cases: dict[str, tuple[str, ...]], folder: Path) -> Iterator[Machine]:
    """Boot, and run pytest on this checkout with the arguments of each case; `folder` is for files of ours, and has the machine's
    disk. The machine is switched off at the end of the block."""
    assert (KERNEL / "complete").exists(), "no kernel to boot: make .vm/complete"
    initramfs = _initramfs(folder, _script(cases))
    console = folder / "console"
    console.touch()
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(DISK)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True, timeout=60)
    qemu = [
        "qemu-system-x86_64", "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", PROCESSOR, "-smp", PROCESSORS, "-m", MEMORY,
        "-kernel", str(KERNEL / "vmlinuz"), "-initrd", str(initramfs), "-no-reboot", "-display", "none", "-nic", "none",
        "-append", f"console=ttyS0 quiet panic=-1 rdinit=/init {KERNEL_ARGUMENTS}",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe",
        "-serial", f"file:{console}", "-monitor", "none",
    ]  # fmt: skip
    machine = Machine(start(qemu), console)
    try:
        _prefer(machine.process.pid)
        yield machine
    finally:
        machine.off()


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """A process that Ctrl-C does not reach, and that ends with this one."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_parent)


class Machines:
    """A machine for all cases, and for those that are left when one has switched it off, another. `boot` starts a machine for cases."""

    def __init__(
        self, cases: dict[str, tuple[str, ...]], boot: Callable[[dict[str, tuple[str, ...]]], AbstractContextManager[Machine]]
    ) -> None:
        self._left, self._boot = cases, boot
        self._stack = contextlib.ExitStack()
        self._machine: Machine | None = None

    def ran(self, case: str, within: float) -> Ran:
        """As `Machine.ran`, from a machine that has come to the case or can."""
        if self._machine is None or not self._machine.comes_to(case):
            self.close()
            self._machine = self._stack.enter_context(self._boot(self._left))
        del self._left[case]
        return self._machine.ran(case, within)

    def close(self) -> None:
        self._stack.close()


def _prefer(pid: int) -> None:
    """Before other groups of tests, none of which takes as long. Where the kernel groups processes by session (sched(7),
    autogroup), a nice value counts only within one, and every process of a lab has a session of its own."""
    os.setpriority(os.PRIO_PROCESS, pid, NICE)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(NICE))


def _script(cases: dict[str, tuple[str, ...]]) -> str:
    return (
        f"cd {shlex.quote(str(ROOT))}\n"
        f"export PINNACE_TEST_PATIENCE={PATIENCE} PYTHONDONTWRITEBYTECODE=1\n"
        f"{shlex.join([sys.executable, '-m', 'tests.vm.cases', json.dumps(cases)])}\n"
    )


def _initramfs(folder: Path, command: str) -> Path:
    tree = folder / "initramfs"
    for name in ("bin", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    for source, target in ((HERE / "init.sh", "init"), (HERE / "guest.sh", "guest.sh")):
        shutil.copy(source, tree / target)
        (tree / target).chmod(0o755)
    (tree / "command").write_text(command)
    (tree / "checkout").write_text(str(ROOT))
    modules = _modules()
    for path in modules:
        data = (KERNEL / "modules" / path).read_bytes()
        # Debian 13 compresses them.
        (tree / "modules" / _name(path)).write_bytes(lzma.decompress(data) if path.endswith(".xz") else data)
    (tree / "modules/order").write_text("\n".join(map(_name, modules)))
    (tree / "modules/kernel").write_text(str((KERNEL / "modules").resolve()))
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    image = folder / "initramfs.cpio"
    with image.open("wb") as file:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc"], input=names.encode(), stdout=file, cwd=tree, check=True, timeout=60
        )
    return image


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0]


def _modules() -> list[str]:
    """Paths of the modules that the way to the host's files needs, each after those that it needs itself (modules.dep)."""
    needs = {}
    for line in (KERNEL / "modules/modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    by_name = {_name(path): path for path in needs}
    order: list[str] = []
    for name in MODULES:
        path = by_name[name]
        order += [item for item in (*reversed(needs[path]), path) if item not in order]
    return order
