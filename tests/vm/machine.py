"""A virtual machine with Debian's own kernel over the files of this one: for what the kernel here does not have.

It has cgroup v2 alone, AppArmor, and no network card. Its root is this machine's, read through 9p, with what it writes kept
in memory; so it runs the tests of this checkout with the interpreter that runs this. Emulated: no KVM is needed, and each
test takes some ten times as long.
"""

from __future__ import annotations

import lzma
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.labs import ROOT

HERE = Path(__file__).parent
# What deploy/kernel.sh makes.
KERNEL = ROOT / ".vm"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
MEMORY = "3G"
# Bytes, of which few are ever written.
DISK = 8 << 30
BUSYBOX = Path("/bin/busybox")
# How many times as long as on the machine itself a test may take.
PATIENCE = 6


@dataclass(frozen=True)
class Ran:
    """A command's exit code, -1 when the machine did not get so far, and all that the machine said."""

    code: int
    said: str


def run(command: list[str], folder: Path, within: float) -> Ran:
    """Boot, run `command` in this checkout, and switch off, all within so many seconds; `folder` is for files of ours, and
    has the machine's disk."""
    assert (KERNEL / "complete").exists(), "no kernel to boot: make .vm/complete"
    initramfs = _initramfs(folder, _script(command))
    console = folder / "console"
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(DISK)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True, timeout=60)
    qemu = [
        # Before other groups of tests, none of which takes as long.
        "nice", "-n", "-5", "qemu-system-x86_64", "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY,
        "-kernel", str(KERNEL / "vmlinuz"), "-initrd", str(initramfs), "-no-reboot", "-display", "none", "-nic", "none",
        "-append", "console=ttyS0 quiet panic=-1 rdinit=/init",
        "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe",
        "-serial", f"file:{console}", "-monitor", "none",
    ]  # fmt: skip
    late = ""
    try:
        subprocess.run(qemu, stdin=subprocess.DEVNULL, timeout=within, check=False)
    except subprocess.TimeoutExpired:
        late = f"machine: switched off after {within:.0f} s\n"
    said = console.read_text(errors="replace").replace("\r", "") + late
    codes = [line.rpartition(" ")[2] for line in said.splitlines() if line.startswith("machine: exit ")]
    return Ran(int(codes[-1]) if codes else -1, said)


def pytest_run(folder: Path, *arguments: str, within: float) -> Ran:
    """Tests of this checkout, in the machine."""
    return run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments], folder, within)


def _script(command: list[str]) -> str:
    return (
        f"cd {shlex.quote(str(ROOT))}\n"
        f"export PINNACE_TEST_PATIENCE={PATIENCE} PYTHONDONTWRITEBYTECODE=1\n"
        f"{shlex.join(command)}\n"
        "code=$?\n"
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
