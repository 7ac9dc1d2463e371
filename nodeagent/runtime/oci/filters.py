"""Seccomp filters in the form that OCI runtimes take, which compile them by themselves.

Source: the OCI runtime specification, config-linux, Seccomp.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nodeagent.runtime import seccompjson
from nodeagent.runtime.interface import StartError
from nodeagent.runtime.libseccomp import ERRNO, TRACE, Rule

_DATA = 0xFFFF


def document(default: int, arches: Iterable[int], rules: Iterable[Rule]) -> dict[str, Any]:
    """`linux.seccomp` for what `libseccomp.compile_filter` takes. Rules without conditions are listed together."""
    plain: dict[int, list[str]] = {}
    conditional = []
    for rule in rules:
        if rule.compares:
            args = [
                {"index": item.arg, "value": item.value, "valueTwo": item.second, "op": seccompjson.operator_name(item.op)}
                for item in rule.compares
            ]
            conditional.append({"names": [rule.name], **_action(rule.action, "action", "errnoRet"), "args": args})
        else:
            plain.setdefault(rule.action, []).append(rule.name)
    listed = [{"names": names, **_action(action, "action", "errnoRet")} for action, names in plain.items()]
    names = seccompjson.architecture_names(platform.machine(), arches)
    return {**_action(default, "defaultAction", "defaultErrnoRet"), "architectures": names, "syscalls": [*listed, *conditional]}


def _action(value: int, key: str, errno_key: str) -> dict[str, Any]:
    found: dict[str, Any] = {key: seccompjson.action_name(value & ~_DATA)}
    if value & ~_DATA in (ERRNO, TRACE):
        found[errno_key] = value & _DATA
    return found


def beside(filter_: Path) -> Path:
    """Where the document of a compiled filter is kept."""
    return filter_.with_suffix(".json")


def profile(config: dict[str, Any]) -> dict[str, Any] | None:
    """The document of the filter that a bundle's configuration names, None for unconfined. Raises StartError."""
    if not config["seccomp"]:
        return None
    try:
        found: dict[str, Any] = json.loads(beside(Path(config["seccomp"])).read_text())
    except (OSError, ValueError) as error:
        raise StartError(f"the seccomp filter cannot be given to an OCI runtime: {error}") from error
    return found
