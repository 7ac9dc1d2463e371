"""The default seccomp profile, compiled by libseccomp to the BPF that the launcher loads.

The profile is data: `seccomp-default.json` lists the system calls of the usual container default (moby's, which
containerd shares), those that a capability adds, and here stand the few that depend on their arguments.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_LT, _EQ, _GT, _MASKED_EQ = 2, 4, 6, 7
_OPTIMIZE, _BINARY_TREE = 8, 2
_EXTRA_ARCHES = {"x86_64": (0x40000003, 0x4000003E), "aarch64": ()}
_AF_ALG, _AF_VSOCK = 38, 40
# unshare-like flags of clone: all CLONE_NEW* but CLONE_NEWTIME, which shares its bit with the exit signal.
_CLONE_NAMESPACES = 0x7E020000
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


class _Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class SeccompUnavailable(Exception):
    """libseccomp is not on this machine."""


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise SeccompUnavailable("libseccomp.so.2 is missing (Debian: apt-get install libseccomp2)") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    return library


@cache
def _profile() -> dict[str, Any]:
    profile: dict[str, Any] = json.loads((Path(__file__).parent / "seccomp-default.json").read_text())
    return profile


def compiled(folder: Path, capabilities: tuple[str, ...]) -> Path:
    """The file with the filter for a set of capabilities, made on first use. Raises SeccompUnavailable, OSError."""
    relevant = sorted(set(capabilities) & set(_profile()["byCapability"]))
    digest = hashlib.sha256(json.dumps([_profile(), relevant], sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"seccomp-{digest}.bpf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder / f".{path.name}.{os.getpid()}"
        _compile(temporary, relevant)
        os.replace(temporary, path)
    return path


def _compile(path: Path, capabilities: list[str]) -> None:
    library = _library()
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
    try:
        for token in _EXTRA_ARCHES[platform.machine()]:
            _check(library.seccomp_arch_add(context, ctypes.c_uint32(token)), "seccomp_arch_add")
        library.seccomp_attr_set(context, ctypes.c_int(_OPTIMIZE), ctypes.c_uint32(_BINARY_TREE))
        _rules(context, capabilities)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _check(library.seccomp_export_bpf(context, descriptor), "seccomp_export_bpf")
        finally:
            os.close(descriptor)
    finally:
        library.seccomp_release(context)


def _rules(context: Any, capabilities: list[str]) -> None:
    names = set(_profile()["allow"])
    for capability in capabilities:
        names |= set(_profile()["byCapability"][capability])
    for name in sorted(names):
        _rule(context, _ALLOW, name)
    for op, value in ((_LT, _AF_ALG), (_EQ, _AF_ALG + 1), (_GT, _AF_VSOCK)):
        _rule(context, _ALLOW, "socket", _Compare(0, op, value, 0))
    for value in _PERSONALITIES:
        _rule(context, _ALLOW, "personality", _Compare(0, _EQ, value, 0))
    if "SYS_ADMIN" not in capabilities:
        _rule(context, _ALLOW, "clone", _Compare(0, _MASKED_EQ, _CLONE_NAMESPACES, 0))
        # Its flags lie behind a pointer that a filter cannot follow; libc falls back to clone on ENOSYS.
        _rule(context, _ERRNO | errno.ENOSYS, "clone3")


def _rule(context: Any, action: int, name: str, *compares: _Compare) -> None:
    library = _library()
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == -1:
        # Newer than this libseccomp: then no filter of it can allow the call.
        return
    array = (_Compare * len(compares))(*compares)
    result = library.seccomp_rule_add_array(
        context, ctypes.c_uint32(action), ctypes.c_int(number), ctypes.c_uint(len(compares)), array
    )
    if result < 0 and -result not in (errno.EEXIST, errno.EDOM, errno.EFAULT):
        _check(result, f"seccomp_rule_add {name}")


def _check(result: int, name: str) -> None:
    if result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}")
