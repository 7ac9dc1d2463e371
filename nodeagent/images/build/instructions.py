"""The instructions that are supported, each a frozen class. `reading` makes them from statements.

Variables in them are not replaced yet: `state.resolve` does it, for their values are known only on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinnace.oci.manifest import ARCHITECTURE

PLATFORM = f"linux/{ARCHITECTURE}"


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
    """RUN, CMD or ENTRYPOINT. `shell`: the only argument is a line for /bin/sh -c."""

    arguments: tuple[str, ...]
    shell: bool

    @property
    def argv(self) -> tuple[str, ...]:
        return ("/bin/sh", "-c", *self.arguments) if self.shell else self.arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """COPY and ADD. `source` is a stage, its number or an image; empty: the context. `extract`: ADD opens archives."""

    paths: tuple[str, ...]
    target: str
    source: str = ""
    chown: str = ""
    chmod: str = ""
    extract: bool = False


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
