"""What a resolved instruction does to the configuration of an image under construction. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nodeagent.building.arguments import with_values
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import (  # fmt: skip
    Arg,
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from nodeagent.building.state import State
from pinnace import signals

MAX_ENV, MAX_LABELS = 32 << 10, 1 << 20
MAX_TRIGGERS = 1_000
# Of one EXPOSE: every port of every protocol.
MAX_PORTS = 65_536 * 3
_PORT = re.compile(r"(?:(?:\[[^\]]*\]|[^:]*):)?(?:[0-9-]*:)?([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([A-Za-z]*))?", re.ASCII)
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True)
class Arguments:
    """`given` are the build's, `before` the ARGs before the first FROM and the platform's."""

    given: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    escape: str = "\\"


def configure(item: Instruction, state: State, arguments: Arguments) -> State:
    """The state after a resolved instruction, as far as it is configuration. Raises BuildError."""
    match item:
        case Arg():
            return _with_args(item, state, arguments).noted(item)
        case Env():
            return _with_env(item, state)
        case Label():
            return state.with_config(item, Labels=_labels(item, state))
        case Cmd():
            return replace(state.with_config(item, Cmd=list(item.argv(state.shell))), has_cmd=True)
        case Entrypoint():
            cmd = state.config.get("Cmd") if state.has_cmd else None
            return state.with_config(item, Entrypoint=list(item.argv(state.shell)), Cmd=cmd)
        case Workdir():
            # Its directory is a layer of the builder's, which adds the instruction to the history.
            return replace(state, config={**state.config, "WorkingDir": item.path})
        case Maintainer():
            return replace(state, author=item.author).noted(item)
        case User() | Stopsignal() | Shell() | Healthcheck() | Onbuild() | Expose() | Volume():
            return state.with_config(item, **_members(item, state))
        case _:
            return state


def _members(item: Instruction, state: State) -> dict[str, Any]:
    match item:
        case User():
            if not item.user:
                raise BuildError("USER is empty once its variables are replaced", item.line)
            return {"User": item.user}
        case Stopsignal():
            if signals.number(item.signal) is None:
                raise BuildError(f"STOPSIGNAL: invalid signal: {item.signal[:40]}", item.line)
            return {"StopSignal": item.signal}
        case Shell():
            return {"Shell": list(item.items)}
        case Healthcheck():
            return {"Healthcheck": dict(item.config)}
        case Onbuild():
            if len(state.triggers) >= MAX_TRIGGERS:
                raise BuildError(f"more than {MAX_TRIGGERS} ONBUILD triggers", item.line)
            return {"OnBuild": [*state.triggers, item.expression]}
        case Expose():
            return {"ExposedPorts": {**(state.config.get("ExposedPorts") or {}), **_exposed(item)}}
        case Volume():
            if not all(item.items):
                raise BuildError("VOLUME specified can not be an empty string", item.line)
            return {"Volumes": {**(state.config.get("Volumes") or {}), **{path: {} for path in item.items}}}
        case _:
            return {}


def _labels(item: Label, state: State) -> dict[str, str]:
    labels = {**(state.config.get("Labels") or {}), **dict(item.pairs)}
    if sum(len(name) + len(text) for name, text in labels.items()) > MAX_LABELS:
        raise BuildError(f"the labels are larger than {MAX_LABELS >> 10} KiB", item.line)
    return labels


def _with_env(item: Env, state: State) -> State:
    env = {**state.env, **dict(item.pairs)}
    if sum(len(name) + len(text) for name, text in env.items()) > MAX_ENV:
        raise BuildError(f"the environment is larger than {MAX_ENV >> 10} KiB", item.line)
    changed = state.with_config(item, Env=[f"{name}={text}" for name, text in env.items()])
    return replace(changed, variables={**state.variables, **dict(item.pairs)})


def _with_args(item: Arg, state: State, arguments: Arguments) -> State:
    """The command line's value, else the default, else that of an ARG of the same name before the first FROM."""
    variables = dict(state.variables)
    for name, default in item.names:
        if name in arguments.given:
            variables[name] = arguments.given[name]
        elif default is not None:
            variables[name] = with_values(default, variables, item.line, arguments.escape)
        elif name in arguments.before:
            variables[name] = arguments.before[name]
        if sum(len(name) + len(text) for name, text in variables.items()) > 2 * MAX_ENV:
            raise BuildError(f"the arguments are larger than {2 * MAX_ENV >> 10} KiB", item.line)
    return replace(state, variables=variables)


def _exposed(item: Expose) -> dict[str, dict[str, str]]:
    ports: dict[str, dict[str, str]] = {}
    listed = 0
    for word in dict.fromkeys(item.items):
        found = _ports(word, item.line)
        listed += len(found)
        if listed > MAX_PORTS:
            raise BuildError(f"EXPOSE lists more than {MAX_PORTS} ports", item.line)
        ports |= {port: {} for port in found}
    return ports


def _ports(text: str, line: int) -> list[str]:
    """Each port of `[[IP:]HOST-PORT:]PORT[-PORT][/PROTOCOL]`, of which an image keeps the container's."""
    match = _PORT.fullmatch(text)
    if match is None:
        raise BuildError(f"EXPOSE {text[:40]!r} is not PORT, PORT/tcp or PORT-PORT/udp", line)
    first, last, protocol = int(match[1]), int(match[2] or match[1]), (match[3] or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise BuildError(f"EXPOSE {text[:40]!r}: invalid proto: {protocol[:20]}", line)
    if last > 65_535:
        raise BuildError(f"EXPOSE {text[:40]!r}: value out of range (0-65535)", line)
    if first > last:
        raise BuildError(f"EXPOSE {text[:40]!r}: invalid port range: it is empty", line)
    return [f"{port}/{protocol}" for port in range(first, last + 1)]
