"""Seccomp filters of containers: the default profile and those of files on the node, compiled for the launcher to load.

The default is data: `seccomp-default.json` lists the system calls of the usual container default (moby's, which
containerd shares), those that a capability adds, and here stand the few that depend on their arguments.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from nodeagent.linux import syscalls
from nodeagent.runtime import seccompjson
from nodeagent.runtime.libseccomp import ALLOW, EQ, ERRNO, MASKED_EQ, Compare, Rule, SeccompUnavailable, compile_filter
from nodeagent.runtime.oci import filters
from nodeagent.runtime.seccompjson import BadProfile
from pinnace import pki

__all__ = ["BadProfile", "SeccompUnavailable", "compiled", "localhost"]

# Below the folder of filters: where `localhostProfile` is looked for, as kubelet does in its `seccomp` folder.
PROFILES = "profiles"
MAX_PROFILE = 1 << 20
_EXTRA_ARCHES = {"x86_64": (0x40000003, 0x4000003E), "aarch64": ()}
# Families of sockets below AF_MAX (linux/socket.h), without the kernel's crypto interface (AF_ALG, CVE-2026-31431) and
# hypervisors (AF_VSOCK).
_FAMILIES = sorted(set(range(46)) - {38, 40})
# A system call takes an int of the register that a filter compares whole.
_INT = 0xFFFFFFFF
# unshare-like flags of clone: all CLONE_NEW* but CLONE_NEWTIME, which shares its bit with the exit signal.
_CLONE_NAMESPACES = 0x7E020000
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


@cache
def _profile() -> dict[str, Any]:
    profile: dict[str, Any] = json.loads((Path(__file__).parent / "seccomp-default.json").read_text())
    return profile


def compiled(folder: Path, capabilities: tuple[str, ...]) -> Path:
    """The file with the default filter for a set of capabilities, made on first use. Raises SeccompUnavailable, OSError."""
    relevant = tuple(sorted(set(capabilities) & set(_profile()["byCapability"])))
    path = folder / f"seccomp-{_digest(relevant)}.bpf"
    _make(path, ERRNO | errno.EPERM, _EXTRA_ARCHES[platform.machine()], _rules(relevant))
    return path


def _make(path: Path, default: int, arches: Iterable[int], rules: Iterable[Rule]) -> None:
    """The compiled filter and, for OCI runtimes, its document; the filter last, for its being there says that both are."""
    if _is_whole(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = list(rules)
    pki.write_private(filters.beside(path), json.dumps(filters.document(default, arches, made)).encode())
    data = compile_filter(default, arches, made)
    pki.write_private(path, data)
    pki.write_private(_checksum(path), hashlib.sha256(data).hexdigest().encode())


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether a compiled filter is what was written: one that a power failure or a full disk has shortened is made again."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == _checksum(path).read_text()
    except OSError:
        return False


@cache
def _digest(capabilities: tuple[str, ...]) -> str:
    """Of the rules, so that another version of the agent does not load an older filter."""
    return hashlib.sha256(repr(_rules(capabilities)).encode()).hexdigest()[:16]


@cache
def _rules(capabilities: tuple[str, ...]) -> tuple[Rule, ...]:
    names = set(_profile()["allow"])
    for capability in capabilities:
        names |= set(_profile()["byCapability"][capability])
    # First: for `socket`, libseccomp would allow it of 32-bit programs with any family, which lies behind a pointer. They have
    # the direct calls since Linux 4.3, and fall back to them on ENOSYS.
    rules = [Rule("socketcall", ERRNO | errno.ENOSYS), *(Rule(name, ALLOW) for name in sorted(names))]
    rules += [
        Rule(name, ALLOW, (Compare(0, MASKED_EQ, _INT, family),)) for name in ("socket", "socketpair") for family in _FAMILIES
    ]
    rules += [Rule("personality", ALLOW, (Compare(0, EQ, value),)) for value in _PERSONALITIES]
    if "SYS_ADMIN" not in capabilities:
        rules.append(Rule("clone", ALLOW, (Compare(0, MASKED_EQ, _CLONE_NAMESPACES, 0),)))
        # Its flags lie behind a pointer that a filter cannot follow; libc falls back to clone on ENOSYS.
        rules.append(Rule("clone3", ERRNO | errno.ENOSYS))
    return tuple(rules)


def localhost(folder: Path, name: str, capabilities: tuple[str, ...]) -> Path:
    """The compiled filter of the profile `profiles/NAME` in `folder`. Raises BadProfile, SeccompUnavailable, OSError."""
    text = _read(folder / PROFILES, name)
    profile = seccompjson.parse(text, name, machine=platform.machine(), capabilities=frozenset(capabilities))
    path = folder / f"seccomp-{hashlib.sha256(repr(profile).encode()).hexdigest()[:16]}.bpf"
    _make(path, profile.default, profile.arches, profile.rules)
    return path


def _read(folder: Path, name: str) -> bytes:
    """A file below `folder`, whatever symlinks are in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
    try:
        with open(syscalls.openat2(root, name, os.O_RDONLY | os.O_NONBLOCK, resolve=resolve), "rb") as file:
            data = file.read(MAX_PROFILE + 1)
    except OSError as error:
        raise BadProfile(f'cannot load seccomp profile "{name}": {os.strerror(error.errno or 0)}') from None
    finally:
        os.close(root)
    if len(data) > MAX_PROFILE:
        raise BadProfile(f'cannot load seccomp profile "{name}": larger than {MAX_PROFILE} bytes')
    return data
