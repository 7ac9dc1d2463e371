"""Which stages a build has, which of them are needed, and in which order. Pure.

A stage is needed when it is the target, the base of a needed one, or what a needed one copies or mounts from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nodeagent.building import arguments, mounts, platforms
from nodeagent.building.arguments import with_values
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import Copy, From, Instruction, Onbuild, Run

MAX_STAGES = 256


@dataclass(frozen=True, slots=True)
class Stage:
    """`base` is the number of an earlier stage, or an image's name (empty: from scratch)."""

    number: int
    name: str
    base: int | str
    origin: From
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All `stages`, and the numbers of the `needed` ones in order, the target last. `global_args` are those before the
    first FROM and the platform's."""

    stages: tuple[Stage, ...]
    needed: tuple[int, ...]
    global_args: Mapping[str, str]
    escape: str
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        return sum(1 + len(self.stages[number].instructions) for number in self.needed)

    def source(self, origin: str, stage: int, line: int) -> int | None:
        """The earlier stage that a --from or a mount's from in `stage` names; None for an image. Raises BuildError."""
        if origin.isascii() and origin.isdigit() and len(origin) < 6:
            number = int(origin)
            if number >= len(self.stages):
                raise BuildError(f"invalid stage index {number}", line)
        else:
            named = [found.number for found in self.stages if found.name and found.name == origin.lower()]
            if not named:
                return None
            number = named[-1]
        if number >= stage:
            what = "a stage cannot copy from itself" if number == stage else "it needs to be defined before current stage"
            raise BuildError(f"cannot copy from stage {origin[:60]!r}: {what}", line)
        return number


@dataclass(slots=True)
class _Read:
    """Stages as they are read."""

    escape: str
    variables: Mapping[str, str]
    stages: list[Stage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan(
    instructions: tuple[Instruction, ...], *, target: str = "", args: Mapping[str, str] | None = None, escape: str = "\\"
) -> Plan:
    """`target` is a stage's name or number, empty for the last; `args` are the build's. Raises BuildError."""
    given = dict(args or {})
    head = next((n for n, item in enumerate(instructions) if isinstance(item, From)), len(instructions))
    known = arguments.of_platform(given, target or _last_name(instructions))
    globals_ = arguments.before_stages(instructions[:head], given, known, escape)
    read = _Read(escape, globals_)
    for origin, body in _grouped(instructions[head:]):
        _add(read, origin, body)
    if not read.stages:
        raise BuildError("the Dockerfile has no FROM")
    found = Plan(tuple(read.stages), (), globals_, escape, ())
    needed = needed_by(found, _target(read.stages, target))
    unused = (f"--build-arg {name}: no ARG of the Dockerfile takes it" for name in arguments.unused(instructions, given))
    return Plan(found.stages, tuple(sorted(needed)), globals_, escape, (*read.notes, *unused))


def _last_name(instructions: tuple[Instruction, ...]) -> str:
    return next((item.name for item in reversed(instructions) if isinstance(item, From)), "")


def _grouped(instructions: tuple[Instruction, ...]) -> list[tuple[From, tuple[Instruction, ...]]]:
    groups: list[tuple[From, list[Instruction]]] = []
    for item in instructions:
        if isinstance(item, From):
            groups.append((item, []))
        else:
            groups[-1][1].append(item)
    return [(origin, tuple(body)) for origin, body in groups]


def _add(read: _Read, origin: From, body: tuple[Instruction, ...]) -> None:
    if len(read.stages) >= MAX_STAGES:
        raise BuildError(f"more than {MAX_STAGES} stages", origin.line)
    if origin.platform:
        platforms.check(with_values(origin.platform, read.variables, origin.line, read.escape), origin)
    image = with_values(origin.image, read.variables, origin.line, read.escape)
    if not image:
        text = f"FROM {origin.image}: base name should not be blank (is an ARG before the first FROM missing?)"
        raise BuildError(text, origin.line)
    names = {stage.name: stage.number for stage in read.stages if stage.name}
    if origin.name in names:
        read.notes.append(f"line {origin.line}: the stage name {origin.name!r} is used again; the later stage has it from here")
    base: int | str = names.get(image.lower(), "" if image == "scratch" else image)
    read.stages.append(Stage(len(read.stages), origin.name, base, origin, body))


def _target(stages: list[Stage], target: str) -> int:
    if not target:
        return stages[-1].number
    for stage in reversed(stages):
        if stage.name == target.lower() or target == str(stage.number):
            return stage.number
    known = ", ".join(sorted({stage.name for stage in stages if stage.name})[:20])
    raise BuildError(f"target stage {target[:60]!r} could not be found" + (f" (there are: {known})" if known else ""))


def origins(item: Instruction) -> Iterator[str]:
    """What an instruction copies and mounts from, as it names it."""
    if isinstance(item, Copy) and item.source:
        yield item.source
    if isinstance(item, Run):
        for option in item.options:
            origin = mounts.origin_of(option, item.line)
            if origin:
                yield origin


def needed_by(found: Plan, target: int) -> set[int]:
    """The stages that must be built for `target`, itself included. Raises BuildError."""
    needed: set[int] = set()
    waiting = [target]
    while waiting:
        stage = found.stages[waiting.pop()]
        if stage.number in needed:
            continue
        needed.add(stage.number)
        waiting += [stage.base] if isinstance(stage.base, int) else []
        for item in stage.instructions:
            if not isinstance(item, Onbuild):
                sources = (found.source(origin, stage.number, item.line) for origin in origins(item))
                waiting += [number for number in sources if number is not None]
    return needed
