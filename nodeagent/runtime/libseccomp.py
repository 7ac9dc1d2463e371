"""libseccomp by ctypes: rules in, the kernel's BPF out. It is loaded on first use, by the agent alone."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

KILL_PROCESS, KILL_THREAD, TRAP, ERRNO, TRACE, LOG, ALLOW = (
    0x80000000, 0x00000000, 0x00030000, 0x00050000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000,
)  # fmt: skip
NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(1, 8)
_OPTIMIZE, _BINARY_TREE = 8, 2


class SeccompUnavailable(Exception):
    """libseccomp is not on this machine."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition on argument `arg`; for MASKED_EQ, `value` is the mask and `second` what must remain."""

    arg: int
    op: int
    value: int
    second: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What a system call meets, `action` with an errno in its low bits; all of `compares` must hold."""

    name: str
    action: int
    compares: tuple[Compare, ...] = ()


class _Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise SeccompUnavailable("libseccomp.so.2 is missing (Debian: apt-get install libseccomp2)") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    return library


def compile_filter(default: int, arches: Iterable[int], rules: Iterable[Rule]) -> bytes:
    """The filter. `arches` are tokens besides the native one. Raises SeccompUnavailable, OSError."""
    library = _library()
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    if not context:
        raise OSError(errno.EINVAL, "seccomp_init: the default action is not one")
    try:
        for token in arches:
            _check(library.seccomp_arch_add(context, ctypes.c_uint32(token)), "seccomp_arch_add")
        library.seccomp_attr_set(context, ctypes.c_int(_OPTIMIZE), ctypes.c_uint32(_BINARY_TREE))
        for rule in rules:
            _add(context, rule)
        # In memory: the library takes a short write, as to a full disk, for success.
        with open(os.memfd_create("seccomp", os.MFD_CLOEXEC), "r+b") as file:
            _check(library.seccomp_export_bpf(context, file.fileno()), "seccomp_export_bpf")
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)


def _add(context: Any, rule: Rule) -> None:
    library = _library()
    number = library.seccomp_syscall_resolve_name(rule.name.encode())
    if number == -1:
        # Newer than this libseccomp: then no filter of it can name the call.
        return
    array = (_Compare * len(rule.compares))(*(_Compare(c.arg, c.op, c.value, c.second) for c in rule.compares))
    result = library.seccomp_rule_add_array(
        context, ctypes.c_uint32(rule.action), ctypes.c_int(number), ctypes.c_uint(len(rule.compares)), array
    )
    # A rule that is there already, and calls that one of the architectures lacks.
    if result < 0 and -result not in (errno.EEXIST, errno.EDOM, errno.EFAULT):
        _check(result, f"seccomp_rule_add {rule.name}")


def _check(result: int, name: str) -> None:
    if result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}")
