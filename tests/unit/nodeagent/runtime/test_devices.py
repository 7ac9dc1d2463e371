"""The device rules: as v1 takes them, and as the BPF program that v2 runs."""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.runtime import devices
from nodeagent.runtime.devices import BLOCK, CHAR, DEFAULT, MKNOD, READ, WRITE, Rule, confine, program


def allowed(kind: int, major: int, minor: int, access: int, rules: tuple[Rule, ...] = DEFAULT) -> bool:
    """What the program answers, by an interpreter of the instructions that it uses."""
    code = [struct.unpack_from("BBhi", program(rules), at) for at in range(0, len(program(rules)), 8)]
    context = {0: access << 16 | kind, 4: major, 8: minor}
    registers = [0] * 11
    at = 0
    while True:
        operation, pair, offset, value = code[at]
        target, source = pair & 15, pair >> 4
        at += 1
        if operation == 0x61:
            registers[target] = context[offset]
        elif operation == 0xB7:
            registers[target] = value
        elif operation == 0xBF:
            registers[target] = registers[source]
        elif operation == 0x57:
            registers[target] &= value
        elif operation == 0x77:
            registers[target] >>= value
        elif operation == 0x55:
            at += offset if registers[target] != value else 0
        else:
            assert operation == 0x95
            return bool(registers[0])


def test_rules_as_v1_takes_them() -> None:
    """Kind, numbers or a star, letters."""
    assert [str(rule) for rule in DEFAULT[:3]] == ["c *:* m", "b *:* m", "c 1:3 mrw"]


@pytest.mark.parametrize(
    ("kind", "major", "minor", "access", "expected"),
    [
        (CHAR, 1, 3, READ | WRITE, True),
        (CHAR, 1, 3, MKNOD, True),
        (CHAR, 136, 77, READ | WRITE, True),
        (CHAR, 1, 1, READ, False),
        (CHAR, 1, 11, WRITE, False),
        (BLOCK, 1, 3, READ, False),
        (BLOCK, 254, 0, READ, False),
        (BLOCK, 254, 0, MKNOD, True),
        (BLOCK, 254, 0, MKNOD | READ, False),
        (CHAR, 10, 229, READ | WRITE, False),
    ],
)
def test_the_program_allows_what_the_rules_allow(kind: int, major: int, minor: int, access: int, *, expected: bool) -> None:
    """Access beyond a rule's is refused, and so is what no rule names."""
    assert allowed(kind, major, minor, access) is expected


def test_without_rules_nothing_is_allowed() -> None:
    """The program's end refuses."""
    assert not allowed(CHAR, 1, 3, READ, ())


@pytest.mark.parametrize("privileged", [False, True])
def test_v1_cgroups_are_set_by_their_files(tmp_path: Path, *, privileged: bool) -> None:
    """Everything is denied before anything is allowed; privileged containers may all."""
    for name in ("devices.deny", "devices.allow"):
        (tmp_path / name).touch()
    confine((str(tmp_path),), privileged=privileged)
    assert (tmp_path / "devices.deny").read_text() == ("" if privileged else "a")
    assert ("a" if privileged else "c 136:* mrw") in (tmp_path / "devices.allow").read_text()


@pytest.fixture
def unified() -> Iterator[Path]:
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (root / "cgroup.controllers").exists():
            folder = root / f"t-devices-{os.getpid()}"
            folder.mkdir()
            yield folder
            folder.rmdir()
            return
    pytest.skip("no cgroup v2 hierarchy is mounted")


OPENS = """
import os, sys
folder, *paths = sys.argv[1:]
open(f"{folder}/cgroup.procs", "w").write("0")
for path in paths:
    try:
        os.close(os.open(path, os.O_RDWR))
        print(0)
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.root
def test_v2_cgroups_refuse_devices(unified: Path, tmp_path: Path) -> None:
    """A process of the cgroup opens the harmless devices and no other, however it came by the node; twice is once."""
    confine((str(unified),), privileged=False)
    confine((str(unified),), privileged=False)
    disk = tmp_path / "disk"
    os.mknod(disk, stat.S_IFBLK | 0o600, os.stat("/").st_dev)
    command = [sys.executable, "-c", OPENS, str(unified), "/dev/null", "/dev/kmsg", str(disk)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert said == ["0", str(errno.EPERM), str(errno.EPERM)]
    assert len(devices.program(DEFAULT)) // 8 < 4096
