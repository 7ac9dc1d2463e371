"""The instructions of a Dockerfile, each a frozen class. `reading` makes them from statements.

Variables in them are not replaced yet: `resolving` does it, for their values are known only on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nodeagent.building.heredocs import Heredoc
from nodeagent.building.mounts import RunMount
from pinnace.oci.manifest import ARCHITECTURE

PLATFORM = f"linux/{ARCHITECTURE}"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """`text` is the statement as written, in one line."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    image: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Instruction):
    """RUN, CMD or ENTRYPOINT. `shell`: the only argument is a line for the shell."""

    arguments: tuple[str, ...]
    shell: bool

    def argv(self, shell: tuple[str, ...] = DEFAULT_SHELL) -> tuple[str, ...]:
        """`shell` is that of SHELL."""
        return (*shell, *self.arguments) if self.shell else self.arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Command):
    """`script` is a here-document that begins with `#!`, run as a file of its own. `options` are the --mount flags, of
    which `mounts` is made once their variables are replaced. `network` is `default` or `none`."""

    script: Heredoc | None = None
    options: tuple[str, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    network: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """COPY and ADD. `source` is a stage, its number or an image; empty: the context. `documents` are here-documents among
    the sources; a path of ADD may be a URL. `unpack`: archives are unpacked, None for ADD's default: local ones."""

    paths: tuple[str, ...]
    target: str
    documents: tuple[Heredoc, ...] = ()
    source: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()
    add: bool = False
    unpack: bool | None = None
    checksum: str = ""

    @property
    def unpacks_local(self) -> bool:
        return self.add and self.unpack is not False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Instruction):
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Pairs):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Pairs):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    """Names with their defaults, None for none."""

    names: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Instruction):
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Listed):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Listed):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Listed):
    """The command that runs the shell form of RUN, CMD and ENTRYPOINT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """`config` is the `Healthcheck` member of an image config (moby docker-image-spec)."""

    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopsignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    """`expression` is a Dockerfile of one instruction, for the builds that begin from this image."""

    expression: str
