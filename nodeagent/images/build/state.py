"""What an image under construction is, and how an instruction changes it. Pure.

`config` is the `config` member of an OCI image config (Env, Cmd, ...), which is never changed in place. Source of the
rules: the Dockerfile reference; the OCI image-spec's config section.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.instructions import (
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Instruction,
    Label,
    Pairs,
    User,
    Volume,
    Workdir,
)  # fmt: skip
from nodeagent.images.build.stages import PLATFORM_ARGS, expand

MAX_ENV = 32 << 10
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
T = TypeVar("T", bound=Instruction)


@dataclass(frozen=True, slots=True)
class State:
    """`layers` are digests from the bottom up; `args` the ARGs that are in scope and have a value; `created` the RFC 3339
    time of the newest layer, so that a build that only met the cache yields the same image again."""

    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    created: str = "1970-01-01T00:00:00Z"
    # Whether CMD came in this stage: ENTRYPOINT resets an inherited one.
    has_cmd: bool = False

    @property
    def env(self) -> dict[str, str]:
        return dict(item.split("=", 1) for item in self.config.get("Env") or [] if "=" in item)

    @property
    def variables(self) -> dict[str, str]:
        """An ENV hides an ARG of the same name."""
        return {**self.args, **self.env}

    @property
    def workdir(self) -> str:
        return str(self.config.get("WorkingDir") or "/")

    @property
    def user(self) -> str:
        return str(self.config.get("User") or "")

    def with_layer(self, digest: str, instruction: Instruction, created: str) -> State:
        """After a step that wrote; an empty digest says that it wrote nothing."""
        done = self.noted(instruction, empty=not digest)
        return replace(done, layers=(*done.layers, digest), created=created) if digest else done

    def noted(self, instruction: Instruction, *, empty: bool = True) -> State:
        """With the instruction in the history."""
        entry = {"created_by": instruction.text, **({"empty_layer": True} if empty else {})}
        return replace(self, history=(*self.history, entry))


def document(state: State) -> dict[str, Any]:
    """The OCI image config; its digest as canonical JSON is the image's id."""
    from nodeagent.images.build.instructions import PLATFORM

    system, _, architecture = PLATFORM.partition("/")
    return {
        "architecture": architecture, "os": system, "created": state.created, "config": dict(state.config),
        "rootfs": {"type": "layers", "diff_ids": list(state.layers)}, "history": [dict(item) for item in state.history],
    }  # fmt: skip


def resolve(instruction: Instruction, state: State, escape: str) -> Instruction:
    """With the values of variables, where Docker replaces them: not in RUN, CMD and ENTRYPOINT. Raises BuildError."""

    def value(text: str) -> str:
        return expand(text, state.variables, instruction.line, escape)

    match instruction:
        case Pairs():
            pairs = tuple((value(name), value(text)) for name, text in instruction.pairs)
            if not all(name and "=" not in name for name, _ in pairs):
                raise BuildError("a name is empty or has a = in it once its variables are replaced", instruction.line)
            return replace(instruction, pairs=pairs)
        case Copy():
            return replace(
                instruction, paths=tuple(value(path) for path in instruction.paths), target=value(instruction.target),
                chown=value(instruction.chown), chmod=value(instruction.chmod),
            )  # fmt: skip
        case Workdir():
            return replace(instruction, path=posixpath.normpath(posixpath.join(state.workdir, value(instruction.path))))
        case User():
            return replace(instruction, user=value(instruction.user))
        case Expose():
            # One variable may hold several ports.
            return replace(instruction, items=tuple(port for item in instruction.items for port in value(item).split()))
        case Volume():
            return replace(instruction, items=tuple(value(item) for item in instruction.items))
        case _:
            return instruction


def configure(instruction: Instruction, state: State, given: Mapping[str, str], scope: Mapping[str, str], escape: str) -> State:
    """The state after a resolved instruction, as far as it is configuration.

    `given` are the build's arguments, `scope` the ARGs before the first FROM. Raises BuildError.
    """
    match instruction:
        case Arg():
            return _with_args(instruction, state, given, scope, escape).noted(instruction)
        case Env():
            env = {**state.env, **dict(instruction.pairs)}
            if sum(len(name) + len(text) for name, text in env.items()) > MAX_ENV:
                raise BuildError(f"the environment is larger than {MAX_ENV >> 10} KiB", instruction.line)
            return _set(state, instruction, Env=[f"{name}={text}" for name, text in env.items()])
        case Label():
            return _set(state, instruction, Labels={**(state.config.get("Labels") or {}), **dict(instruction.pairs)})
        case Cmd():
            return replace(_set(state, instruction, Cmd=list(instruction.argv)), has_cmd=True)
        case Entrypoint():
            cmd = state.config.get("Cmd") if state.has_cmd else None
            return _set(state, instruction, Entrypoint=list(instruction.argv), Cmd=cmd)
        case Workdir():
            # Its folder is a layer of the builder's, which notes the instruction.
            return replace(state, config={**state.config, "WorkingDir": instruction.path})
        case User():
            if not instruction.user:
                raise BuildError("USER is empty once its variables are replaced", instruction.line)
            return _set(state, instruction, User=instruction.user)
        case Expose():
            ports: dict[str, Any] = {_port(item, instruction.line): {} for item in instruction.items}
            return _set(state, instruction, ExposedPorts={**(state.config.get("ExposedPorts") or {}), **ports})
        case Volume():
            return _set(state, instruction, Volumes={**(state.config.get("Volumes") or {}), **_volumes(instruction)})
        case _:
            return state


def _set(state: State, instruction: Instruction, **members: Any) -> State:
    merged = {name: value for name, value in {**state.config, **members}.items() if value is not None}
    return replace(state, config=merged).noted(instruction)


def _with_args(item: Arg, state: State, given: Mapping[str, str], scope: Mapping[str, str], escape: str) -> State:
    """The command line's value, else the default, else that of an ARG of the same name before the first FROM."""
    args = dict(state.args)
    for name, default in item.names:
        if name in given:
            args[name] = given[name]
        elif default is not None:
            args[name] = expand(default, {**args, **state.env}, item.line, escape)
        elif name in scope or name in PLATFORM_ARGS:
            args[name] = scope.get(name, PLATFORM_ARGS.get(name, ""))
    return replace(state, args=args)


def _port(text: str, line: int) -> str:
    ports, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    bounds = ports.split("-")
    good = all(bound.isascii() and bound.isdigit() and 0 < int(bound) < 65536 for bound in bounds if len(bound) < 6)
    if not good or len(bounds) > 2 or any(len(bound) > 5 for bound in bounds) or protocol not in ("tcp", "udp", "sctp"):
        raise BuildError(f"EXPOSE {text[:40]!r} is not PORT, PORT/tcp or PORT-PORT/udp", line)
    if len(bounds) == 2 and int(bounds[0]) > int(bounds[1]):
        raise BuildError(f"EXPOSE {text[:40]!r}: the range is empty", line)
    return f"{ports}/{protocol}"


def _volumes(instruction: Volume) -> dict[str, dict[str, str]]:
    if not all(instruction.items):
        raise BuildError("VOLUME is empty once its variables are replaced", instruction.line)
    return {item: {} for item in instruction.items}
