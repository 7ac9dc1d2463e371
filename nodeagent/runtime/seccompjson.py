"""Seccomp profiles in JSON, in the form of the OCI runtime-spec (linux.seccomp) and of moby's, to rules. Pure.

What cannot be done is refused with the place in the file: a filter that silently lacks a rule protects less than it says.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nodeagent.runtime import libseccomp as lib

_ACTIONS = {
    "SCMP_ACT_KILL": lib.KILL_THREAD, "SCMP_ACT_KILL_THREAD": lib.KILL_THREAD, "SCMP_ACT_KILL_PROCESS": lib.KILL_PROCESS,
    "SCMP_ACT_TRAP": lib.TRAP, "SCMP_ACT_ERRNO": lib.ERRNO, "SCMP_ACT_TRACE": lib.TRACE, "SCMP_ACT_LOG": lib.LOG,
    "SCMP_ACT_ALLOW": lib.ALLOW,
}  # fmt: skip
_OPS = {
    "SCMP_CMP_NE": lib.NE, "SCMP_CMP_LT": lib.LT, "SCMP_CMP_LE": lib.LE, "SCMP_CMP_EQ": lib.EQ, "SCMP_CMP_GE": lib.GE,
    "SCMP_CMP_GT": lib.GT, "SCMP_CMP_MASKED_EQ": lib.MASKED_EQ,
}  # fmt: skip
# Tokens of linux/audit.h. One filter can judge the calls of these architectures together; others are of other machines.
_FAMILIES = {
    "x86_64": {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E},
    "aarch64": {"SCMP_ARCH_AARCH64": 0xC00000B7, "SCMP_ARCH_ARM": 0x40000028},
}
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
# What moby's `includes` and `excludes` call the machines.
_GOARCH = {"x86_64": "amd64", "aarch64": "arm64"}
# The only thread of a process loads the filter: nothing is left to synchronise.
_HARMLESS_FLAGS = {"SECCOMP_FILTER_FLAG_TSYNC"}
_FIELDS = {"defaultAction", "defaultErrnoRet", "architectures", "archMap", "flags", "syscalls", "comment"}
_CALL_FIELDS = {"name", "names", "action", "errnoRet", "args", "comment", "includes", "excludes"}
MAX_RULES = 10_000


class BadProfile(Exception):
    """A seccomp profile that cannot be used; the text names the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Profile:
    default: int
    arches: tuple[int, ...]
    rules: tuple[lib.Rule, ...]


def parse(text: bytes, name: str, *, machine: str, capabilities: frozenset[str]) -> Profile:
    """Raises BadProfile."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise _Fault("", "expected an object")
        _known(document, _FIELDS, "")
        default = _action(document, "defaultAction", "defaultErrnoRet", "")
        for index, flag in enumerate(_list(document, "flags")):
            if not isinstance(flag, str) or flag not in _HARMLESS_FLAGS:
                raise _Fault(f"flags[{index}]", f"{flag} is not supported")
        rules = tuple(_rules(document, default, machine, capabilities))
        return Profile(default, tuple(_arches(document, machine)), rules)
    except (ValueError, RecursionError) as error:
        raise BadProfile(f'cannot load seccomp profile "{name}": not JSON ({error})') from None
    except _Fault as fault:
        raise BadProfile(f'cannot load seccomp profile "{name}": {fault}') from None


def action_name(action: int) -> str:
    """Of an action without its errno."""
    return next(name for name, value in reversed(_ACTIONS.items()) if value == action)


def operator_name(op: int) -> str:
    return next(name for name, value in _OPS.items() if value == op)


def architecture_names(machine: str, arches: Iterable[int]) -> list[str]:
    """The machine's own architecture and those of tokens."""
    found = set(arches)
    return [_NATIVE[machine], *(name for name, token in _FAMILIES[machine].items() if token in found)]


class _Fault(Exception):
    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}" if place else message)


def _known(value: dict[str, Any], fields: set[str], place: str) -> None:
    for key in value:
        if key not in fields:
            raise _Fault(f"{place}.{key}".lstrip("."), "not supported")


def _list(value: dict[str, Any], key: str, place: str = "") -> list[Any]:
    found = value.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _Fault(f"{place}.{key}".lstrip("."), "expected a list")
    return found


def _number(value: Any, place: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _Fault(place, f"expected an integer from 0 to {most}")
    return value


def _action(value: dict[str, Any], key: str, errno_key: str, place: str) -> int:
    here = f"{place}.{key}".lstrip(".")
    name = value.get(key)
    if not isinstance(name, str) or name not in _ACTIONS:
        raise _Fault(here, f"{name!r:.80} is not one of {', '.join(_ACTIONS)}")
    action = _ACTIONS[name]
    if action not in (lib.ERRNO, lib.TRACE):
        return action
    given = value.get(errno_key)
    return action | (errno.EPERM if given is None else _number(given, f"{place}.{errno_key}".lstrip("."), 4095))


def _arches(document: dict[str, Any], machine: str) -> Iterator[int]:
    """Those of this machine's family but its native one, which a filter always has."""
    family = _FAMILIES[machine]
    names = list(_list(document, "architectures"))
    for entry in _list(document, "archMap"):
        if isinstance(entry, dict) and entry.get("architecture") == _NATIVE[machine]:
            names += _list(entry, "subArchitectures", "archMap")
    for name in names:
        if not isinstance(name, str) or not name.startswith("SCMP_ARCH_"):
            raise _Fault("architectures", f"{name!r:.80} is not an architecture")
    for name in dict.fromkeys(names):
        if name in family and name != _NATIVE[machine]:
            yield family[name]


def _rules(document: dict[str, Any], default: int, machine: str, capabilities: frozenset[str]) -> Iterator[lib.Rule]:
    count = 0
    for index, call in enumerate(_list(document, "syscalls")):
        place = f"syscalls[{index}]"
        if not isinstance(call, dict):
            raise _Fault(place, "expected an object")
        _known(call, _CALL_FIELDS, place)
        action = _action(call, "action", "errnoRet", place)
        names = _list(call, "names", place) or [call.get("name")]
        if not all(isinstance(name, str) and name for name in names):
            raise _Fault(f"{place}.names", "expected names of system calls")
        compares = [_compare(item, f"{place}.args[{at}]") for at, item in enumerate(_list(call, "args", place))]
        # libseccomp refuses a rule that is what happens anyway.
        if action == default or not _applies(call, place, machine, capabilities):
            continue
        for name in names:
            for group in _groups(compares):
                count += 1
                if count > MAX_RULES:
                    raise _Fault(place, f"more than {MAX_RULES} rules")
                yield lib.Rule(name, action, group)


def _groups(compares: list[lib.Compare]) -> list[tuple[lib.Compare, ...]]:
    """All must hold; conditions on one argument twice are alternatives, as runc takes them."""
    if len({item.arg for item in compares}) == len(compares):
        return [tuple(compares)]
    return [(item,) for item in compares]


def _compare(item: Any, place: str) -> lib.Compare:
    if not isinstance(item, dict) or not isinstance(item.get("op"), str) or item["op"] not in _OPS:
        raise _Fault(f"{place}.op", f"expected one of {', '.join(_OPS)}")
    _known(item, {"index", "value", "valueTwo", "op"}, place)
    index = _number(item.get("index"), f"{place}.index", 5)
    value = _number(item.get("value"), f"{place}.value", (1 << 64) - 1)
    second = _number(item.get("valueTwo", 0), f"{place}.valueTwo", (1 << 64) - 1)
    return lib.Compare(index, _OPS[item["op"]], value, second)


def _applies(call: dict[str, Any], place: str, machine: str, capabilities: frozenset[str]) -> bool:
    """moby's conditions: every one of `includes` must hold, none of `excludes` may."""
    wanted, unwanted = (_condition(call, key, place, machine, capabilities) for key in ("includes", "excludes"))
    return all(wanted) and not any(unwanted)


def _condition(
    call: dict[str, Any], key: str, place: str, machine: str, capabilities: frozenset[str]
) -> list[bool]:  # fmt: skip
    value = call.get(key) or {}
    if not isinstance(value, dict):
        raise _Fault(f"{place}.{key}", "expected an object")
    # Every kernel that this runtime needs is newer than any that a profile asks for.
    _known(value, {"caps", "arches", "minKernel"}, f"{place}.{key}")
    found = [str(name).removeprefix("CAP_") in capabilities for name in _list(value, "caps", f"{place}.{key}")]
    arches = _list(value, "arches", f"{place}.{key}")
    return found + ([_GOARCH[machine] in arches] if arches else []) + ([True] if value.get("minKernel") else [])
