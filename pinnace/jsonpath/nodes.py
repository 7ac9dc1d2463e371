"""What a template is parsed into: plain values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """A quoted text, a number or a boolean."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Field:
    """`.name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Key:
    """`['name']`. kubectl reads the inside as a path; `path` is what is meant when no key is called so."""

    name: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`.*`; `[*]` is a slice of everything."""


@dataclass(frozen=True, slots=True)
class Descent:
    """`..`: the value and everything below it."""


@dataclass(frozen=True, slots=True)
class Slice:
    """`[start:stop:step]`; an index is a slice of one, `single`."""

    start: int | None
    stop: int | None
    step: int | None
    single: bool = False


@dataclass(frozen=True, slots=True)
class Union:
    """`[0,2]`, `['a','b']`."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """`[?(left operator right)]`; without an operator, the existence of `left`."""

    left: Path
    operator: str
    right: Path


Step = Literal | Field | Key | Wildcard | Descent | Slice | Union | Filter


@dataclass(frozen=True, slots=True)
class Path:
    """The steps of one {...}, each applied to all values of the one before."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """`{range path}body{end}`."""

    path: Path
    body: Block


@dataclass(frozen=True, slots=True)
class Block:
    """Texts, paths and ranges, in order."""

    parts: tuple[str | Path | Range, ...]
