"""Build arguments that are known without ARG, those before the first FROM, and texts with their values. Pure.

Source: BuildKit, frontend/dockerfile/dockerfile2llb (defaultArgs, buildMetaArgs); the Dockerfile reference, "ARG".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nodeagent.building import expansion
from nodeagent.building.errors import BuildError
from nodeagent.building.expansion import ExpansionError
from nodeagent.building.instructions import PLATFORM, Arg, Instruction

_OS, _, _ARCHITECTURE = PLATFORM.partition("/")
# Known to every FROM, and to a stage that says ARG with the name.
PLATFORM_ARGS = {
    "TARGETPLATFORM": PLATFORM, "TARGETOS": _OS, "TARGETOSVERSION": "", "TARGETARCH": _ARCHITECTURE, "TARGETVARIANT": "",
    "BUILDPLATFORM": PLATFORM, "BUILDOS": _OS, "BUILDOSVERSION": "", "BUILDARCH": _ARCHITECTURE, "BUILDVARIANT": "",
}  # fmt: skip
# Known to every RUN without ARG, and no part of the cache's keys: a proxy does not change what is built.
PROXY_ARGS = frozenset(
    name for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (base, base.lower())
)
STAGE_ARG = "TARGETSTAGE"
# Characters of all arguments before the first FROM.
MAX_ARGUMENTS = 64 << 10


def proxies(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a RUN for the proxies among the build's arguments: in capitals and in small letters."""
    found: dict[str, str] = {}
    for name in sorted(PROXY_ARGS & set(given)):
        for form in (name.upper(), name.lower()):
            # One that is given in that very form takes precedence.
            if form == name or form not in given:
                found[form] = given[name]
    return found


def with_values(text: str, variables: Mapping[str, str], line: int, escape: str) -> str:
    """See expansion.expand. Raises BuildError."""
    try:
        return expansion.expand(text, variables, escape)
    except ExpansionError as error:
        raise BuildError(str(error), line) from None


def of_platform(given: Mapping[str, str], target: str) -> dict[str, str]:
    """The platform's arguments and the target's name, unless others are `given`."""
    known = {**PLATFORM_ARGS, STAGE_ARG: target or "default"}
    return {name: given.get(name, value) for name, value in known.items()}


def before_stages(
    head: Iterable[Instruction], given: Mapping[str, str], known: Mapping[str, str], escape: str
) -> dict[str, str]:
    """The ARGs before the first FROM on top of those that are `known`. Raises BuildError."""
    found = dict(known)
    for item in head:
        if not isinstance(item, Arg):
            raise BuildError("no build stage in current context: only ARG may stand before the first FROM", item.line)
        for name, default in item.names:
            if name in given:
                found[name] = given[name]
            elif default is not None:
                found[name] = with_values(default, found, item.line, escape)
            if sum(len(name) + len(text) for name, text in found.items()) > MAX_ARGUMENTS:
                raise BuildError(f"the arguments are larger than {MAX_ARGUMENTS >> 10} KiB", item.line)
    return found


def unused(instructions: Iterable[Instruction], given: Iterable[str]) -> list[str]:
    """The names that no ARG of the Dockerfile takes."""
    taken = {name for item in instructions if isinstance(item, Arg) for name, _ in item.names}
    return sorted(set(given) - taken - PROXY_ARGS - set(PLATFORM_ARGS) - {STAGE_ARG})
