"""Which device nodes a container may make and use: cgroup v1's devices controller, or a BPF program on its v2 cgroup.

A device node is a way to the hardware whatever file system it lies in, so this holds even where a mount option is
forgotten. The rules are those of the OCI runtime-spec's default devices and terminals, and mknod without access of any:
archives have device nodes, and unpacking one is harmless. Source: the kernel's cgroup-v1/devices and bpf(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

MKNOD, READ, WRITE = 1, 2, 4
BLOCK, CHAR = 1, 2
_ALL = MKNOD | READ | WRITE
_LETTERS = {MKNOD: "m", READ: "r", WRITE: "w"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is allowed of a kind of device; None: of any number."""

    kind: int
    major: int | None
    minor: int | None
    access: int = _ALL

    def __str__(self) -> str:
        """As devices.allow takes it."""
        letters = "".join(letter for bit, letter in _LETTERS.items() if self.access & bit)
        major, minor = ("*" if number is None else str(number) for number in (self.major, self.minor))
        return f"{'b' if self.kind == BLOCK else 'c'} {major}:{minor} {letters}"


DEFAULT = (
    Rule(CHAR, None, None, MKNOD), Rule(BLOCK, None, None, MKNOD),
    # null, zero, full, random, urandom; tty and ptmx; the terminals of devpts.
    Rule(CHAR, 1, 3), Rule(CHAR, 1, 5), Rule(CHAR, 1, 7), Rule(CHAR, 1, 8), Rule(CHAR, 1, 9), Rule(CHAR, 5, 0),
    Rule(CHAR, 5, 2), Rule(CHAR, 136, None),
)  # fmt: skip


def confine(folders: tuple[str, ...], *, privileged: bool) -> None:
    """Set the rules of a container's cgroups, before any process is in them. Raises OSError."""
    v1 = [folder for folder in folders if os.path.exists(f"{folder}/devices.deny")]
    for folder in v1:
        _write(f"{folder}/devices.allow" if privileged else f"{folder}/devices.deny", "a")
        if not privileged:
            _write(f"{folder}/devices.allow", *map(str, DEFAULT))
    if not v1 and not privileged:
        for folder in folders:
            if os.path.exists(f"{folder}/cgroup.controllers"):
                attach(folder, DEFAULT)


def _write(path: str, *values: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for value in values:
            os.write(fd, value.encode())
    finally:
        os.close(fd)


# The v2 side. linux/bpf.h and linux/bpf_common.h.
_NR_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_PROG_LOAD, _PROG_ATTACH, _PROG_QUERY = 5, 8, 16
_PROG_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
# Programs further down, of a container's own systemd say, add to this one and cannot loosen it.
_ALLOW_MULTI = 2
_LDXW, _MOV, _MOV_X, _AND, _RSH, _JNE, _EXIT = 0x61, 0xB7, 0xBF, 0x57, 0x77, 0x55, 0x95


def attach(folder: str, rules: tuple[Rule, ...]) -> None:
    """Have the kernel ask a program of these rules for every device that a process of the cgroup opens or makes."""
    code = program(rules)
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"MIT")
    load = struct.pack(
        "IIQQIIQII16sII", _PROG_TYPE_CGROUP_DEVICE, len(code) // 8, ctypes.addressof(instructions),
        ctypes.addressof(licence), 0, 0, 0, 0, 0, b"pinnace_devices"[:15], 0, _ATTACH_CGROUP_DEVICE,
    )  # fmt: skip
    cgroup = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _attached(cgroup):
            # The cgroup keeps the program from here on.
            fd = _bpf(_PROG_LOAD, load)
            _bpf(_PROG_ATTACH, struct.pack("IIIII", cgroup, fd, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI, 0))
            os.close(fd)
    finally:
        os.close(cgroup)


def _attached(cgroup: int) -> bool:
    """Whether the cgroup has a program of its own, from an earlier call."""
    query = ctypes.create_string_buffer(struct.pack("IIIIQIIQ", cgroup, _ATTACH_CGROUP_DEVICE, 0, 0, 0, 0, 0, 0), 64)
    _bpf(_PROG_QUERY, query)
    return bool(struct.unpack_from("I", query, 24)[0])


def program(rules: tuple[Rule, ...]) -> bytes:
    """BPF of the rules: r2 is the device's kind, r3 the access asked for, r4 and r5 its numbers; the first match allows."""
    code = [
        _insn(_LDXW, 2, 1, 0), _insn(_MOV_X, 3, 2), _insn(_RSH, 3, imm=16), _insn(_AND, 2, imm=0xFFFF),
        _insn(_LDXW, 4, 1, 4), _insn(_LDXW, 5, 1, 8),
    ]  # fmt: skip
    for rule in rules:
        # Each test jumps to the next rule: over what follows it in this one.
        tests = [(2, rule.kind)] + [(r, n) for r, n in ((4, rule.major), (5, rule.minor)) if n is not None]
        size = len(tests) + 5
        part = [_insn(_JNE, register, offset=size - at - 1, imm=value) for at, (register, value) in enumerate(tests)]
        # Access beyond the rule's leaves bits.
        part += [_insn(_MOV_X, 0, 3), _insn(_AND, 0, imm=_ALL & ~rule.access), _insn(_JNE, 0, offset=2, imm=0)]
        code += [*part, _insn(_MOV, 0, imm=1), _insn(_EXIT)]
    return b"".join([*code, _insn(_MOV, 0, imm=0), _insn(_EXIT)])


def _insn(code: int, target: int = 0, source: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    return struct.pack("BBhi", code, source << 4 | target, offset, imm)


def _bpf(command: int, attributes: bytes | ctypes.Array[ctypes.c_char]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    buffer = ctypes.create_string_buffer(attributes, len(attributes)) if isinstance(attributes, bytes) else attributes
    result = libc.syscall(ctypes.c_long(_NR_BPF), ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes)))
    if result < 0:
        number = ctypes.get_errno()
        hint = " (a kernel with CONFIG_CGROUP_BPF is needed)" if number in (errno.ENOSYS, errno.EINVAL) else ""
        raise OSError(number, f"the container's devices cannot be restricted: bpf: {os.strerror(number)}{hint}")
    return int(result)
