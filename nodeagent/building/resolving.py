"""Instructions with the values of their variables, where BuildKit replaces them. Pure.

Not in RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK, whose variables are the shell's; of RUN in its mounts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nodeagent.building import expansion, mounts
from nodeagent.building.arguments import with_values
from nodeagent.building.errors import BuildError
from nodeagent.building.expansion import ExpansionError
from nodeagent.building.instructions import (  # fmt: skip
    Copy,
    Expose,
    Instruction,
    Pairs,
    Run,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from nodeagent.building.mounts import RunMount
from nodeagent.building.paths import absolute
from nodeagent.building.readers import files
from nodeagent.building.state import State

Expand = Callable[[str], str]
# Characters of one instruction.
MAX_EXPANDED = 1 << 20
# Mounts there would replace what confines the container.
_FORBIDDEN = ("/", "/dev", "/proc", "/sys")
_FORBIDDEN_BELOW = ("/proc/", "/sys/")


def resolve(item: Instruction, state: State, escape: str) -> Instruction:
    """Raises BuildError."""
    size = 0

    def expand(text: str) -> str:
        # One variable may stand in a thousand words.
        nonlocal size
        found = with_values(text, state.variables, item.line, escape)
        size += len(found)
        if size > MAX_EXPANDED:
            raise BuildError(f"longer than {MAX_EXPANDED >> 10} KiB once its variables are replaced", item.line)
        return found

    match item:
        case Pairs():
            return replace(item, pairs=_pairs(item, expand))
        case Copy():
            return _copy(item, state, expand)
        case Run():
            found = tuple(_mount(option, item, state, expand) for option in item.options)
            return replace(item, mounts=_distinct(found, item.line))
        case Workdir():
            return replace(item, path=absolute(state.workdir, expand(item.path)))
        case User():
            return replace(item, user=expand(item.user))
        case Stopsignal():
            return replace(item, signal=expand(item.signal))
        case Expose():
            return replace(item, items=tuple(port for word in item.items for port in _ports(word, item, state, escape)))
        case Volume():
            return replace(item, items=tuple(map(expand, item.items)))
        case _:
            return item


def _pairs(item: Pairs, expand: Expand) -> tuple[tuple[str, str], ...]:
    pairs = tuple((expand(name), expand(text)) for name, text in item.pairs)
    if not all(name and "=" not in name for name, _ in pairs):
        raise BuildError("a name is empty or has a = in it once its variables are replaced", item.line)
    return pairs


def _ports(word: str, item: Expose, state: State, escape: str) -> list[str]:
    """One variable may hold several ports."""
    try:
        return expansion.split(word, state.variables, expansion.Rules(escape))
    except ExpansionError as error:
        raise BuildError(str(error), item.line) from None


def _copy(item: Copy, state: State, expand: Expand) -> Copy:
    paths = tuple(map(expand, item.paths))
    files.check_sources(paths, add=item.add, line=item.line)
    checksum = expand(item.checksum)
    if checksum:
        files.check_checksum(checksum, paths, item.line)
    documents = []
    for document in item.documents:
        text = document.text
        if document.expand:
            try:
                text = expansion.expand_content(text, state.variables)
            except ExpansionError as error:
                raise BuildError(f"heredoc {document.name[:60]}: {error}", item.line) from None
        documents.append(replace(document, content=text, chomp=False, expand=False))
    return replace(
        item, paths=paths, target=expand(item.target), chown=expand(item.chown), chmod=expand(item.chmod),
        checksum=checksum, documents=tuple(documents),
    )  # fmt: skip


def _mount(option: str, item: Run, state: State, expand: Expand) -> RunMount:
    mount = mounts.parse(option, item.line, expand)
    if not mount.target:
        return mount
    target = absolute(state.workdir, mount.target)
    if target in _FORBIDDEN or target.startswith(_FORBIDDEN_BELOW):
        raise BuildError(f'--mount: invalid mount target "{target[:80]}"', item.line)
    # The default of an id is the target as it is written.
    return replace(mount, target=target, id=mount.cache_id if mount.kind == "cache" else mount.id)


def _distinct(found: tuple[RunMount, ...], line: int) -> tuple[RunMount, ...]:
    """The last one of each target, as mounts on top of each other hide those below; parents before what is in them."""
    by_target = {mount.target: mount for mount in found if mount.target}
    with_variable_only = tuple(mount for mount in found if not mount.target)
    return (*sorted(by_target.values(), key=lambda mount: mount.target.count("/")), *with_variable_only)
