"""Which stages a build has, which of them are needed, and in which order. Pure.

A stage is needed when it is the target, the base of a needed one, or what a needed one copies from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nodeagent.images.build import words
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.instructions import PLATFORM, Arg, Copy, From, Instruction

# The platform's arguments, known to every FROM and to a stage that says ARG with the name.
_OS, _, _ARCH = PLATFORM.partition("/")
PLATFORM_ARGS = {
    "TARGETPLATFORM": PLATFORM, "TARGETOS": _OS, "TARGETARCH": _ARCH, "TARGETVARIANT": "",
    "BUILDPLATFORM": PLATFORM, "BUILDOS": _OS, "BUILDARCH": _ARCH, "BUILDVARIANT": "",
}  # fmt: skip
# Known to every RUN without ARG, and no part of the cache's keys: a proxy does not change what is built.
PROXY_ARGS = frozenset(
    name for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (base, base.lower())
)


@dataclass(frozen=True, slots=True)
class Stage:
    """`base` is the number of an earlier stage, or an image's name (empty: from scratch). `sources` maps the text of a
    COPY --from to the earlier stage that it names; what is not in it names an image."""

    number: int
    name: str
    base: int | str
    origin: From
    instructions: tuple[Instruction, ...]
    sources: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The needed stages in order, the target last. `global_args` are those before the first FROM."""

    stages: tuple[Stage, ...]
    global_args: Mapping[str, str]
    escape: str
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        return sum(1 + len(stage.instructions) for stage in self.stages)


def plan(
    instructions: tuple[Instruction, ...], *, target: str = "", args: Mapping[str, str] | None = None, escape: str = "\\"
) -> Plan:
    """`target` is a stage's name or number, empty for the last; `args` are the build's. Raises BuildError."""
    given = dict(args or {})
    head = next((n for n, item in enumerate(instructions) if isinstance(item, From)), len(instructions))
    globals_ = _global_args(instructions[:head], given, escape)
    stages: list[Stage] = []
    for origin, body in _grouped(instructions[head:]):
        stages.append(_stage(origin, body, stages, {**PLATFORM_ARGS, **globals_}, escape))
    if not stages:
        raise BuildError("the Dockerfile has no FROM")
    needed = _needed(stages, _target(stages, target))
    return Plan(tuple(stages[n] for n in sorted(needed)), globals_, escape, _unused(instructions, given))


def _global_args(head: tuple[Instruction, ...], given: Mapping[str, str], escape: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in head:
        if not isinstance(item, Arg):
            raise BuildError("only ARG may stand before the first FROM", item.line)
        for name, default in item.names:
            value = given.get(name, default)
            if value is not None:
                known = {**PLATFORM_ARGS, **found}
                found[name] = value if name in given else expand(value, known, item.line, escape)
    return found


def expand(text: str, variables: Mapping[str, str], line: int, escape: str) -> str:
    """See words.expand. Raises BuildError."""
    try:
        return words.expand(text, variables, escape)
    except words.WordError as error:
        raise BuildError(str(error), line) from None


def _grouped(instructions: tuple[Instruction, ...]) -> list[tuple[From, tuple[Instruction, ...]]]:
    groups: list[tuple[From, list[Instruction]]] = []
    for item in instructions:
        if isinstance(item, From):
            groups.append((item, []))
        else:
            groups[-1][1].append(item)
    return [(origin, tuple(body)) for origin, body in groups]


def _stage(
    origin: From, body: tuple[Instruction, ...], earlier: list[Stage], variables: Mapping[str, str], escape: str
) -> Stage:
    _check_platform(origin, variables, escape)
    image = expand(origin.image, variables, origin.line, escape)
    if not image:
        raise BuildError(f"FROM {origin.image}: the name is empty (is an ARG before the first FROM missing?)", origin.line)
    names = {stage.name: stage.number for stage in earlier if stage.name}
    if origin.name and origin.name in names:
        raise BuildError(f"the stage name {origin.name!r} is taken", origin.line)
    base: int | str = names.get(image.lower(), "" if image == "scratch" else image)
    sources = {}
    for item in body:
        if isinstance(item, Copy) and item.source:
            number = _source(item, names, len(earlier), origin.name)
            if number is not None:
                sources[item.source] = number
    return Stage(len(earlier), origin.name, base, origin, body, sources)


def _check_platform(origin: From, variables: Mapping[str, str], escape: str) -> None:
    wanted = expand(origin.platform, variables, origin.line, escape)
    if wanted and wanted != PLATFORM:
        raise BuildError(f"FROM --platform={wanted[:40]} is not supported: this node builds for {PLATFORM}", origin.line)


def _source(copy: Copy, names: Mapping[str, int], own: int, own_name: str) -> int | None:
    if copy.source.isdigit():
        if int(copy.source) >= own:
            raise BuildError(f"COPY --from={copy.source[:40]}: there is no such earlier stage", copy.line)
        return int(copy.source)
    if copy.source.lower() == own_name:
        raise BuildError(f"COPY --from={copy.source[:40]}: a stage cannot copy from itself", copy.line)
    return names.get(copy.source.lower())


def _target(stages: list[Stage], target: str) -> int:
    if not target:
        return stages[-1].number
    for stage in stages:
        if stage.name == target.lower() or target == str(stage.number):
            return stage.number
    raise BuildError(f"there is no stage {target[:60]!r} to build")


def _needed(stages: list[Stage], target: int) -> set[int]:
    needed: set[int] = set()
    waiting = [target]
    while waiting:
        stage = stages[waiting.pop()]
        if stage.number not in needed:
            needed.add(stage.number)
            waiting += [*stage.sources.values(), *([stage.base] if isinstance(stage.base, int) else [])]
    return needed


def _unused(instructions: tuple[Instruction, ...], given: Mapping[str, str]) -> tuple[str, ...]:
    known = {name for item in instructions if isinstance(item, Arg) for name, _ in item.names} | PROXY_ARGS
    return tuple(f"--build-arg {name}: no ARG of the Dockerfile takes it" for name in sorted(set(given) - known))
