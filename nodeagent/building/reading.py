"""Statements to instructions. What is not supported is refused by name, with its line. Pure.

Source: BuildKit, frontend/dockerfile/instructions (parse.go), whose messages it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from nodeagent.building import grammar
from nodeagent.building.errors import BuildError
from nodeagent.building.flags import suggestion
from nodeagent.building.grammar import Dockerfile, Statement
from nodeagent.building.instructions import Instruction, Onbuild
from nodeagent.building.readers import files, processes, settings
from nodeagent.building.readers.settings import from_

Reader = Callable[[Statement, str], Instruction]


def read(dockerfile: Dockerfile) -> tuple[Instruction, ...]:
    """Raises BuildError with the line."""
    return tuple(instruction(statement, dockerfile.escape) for statement in dockerfile.statements)


def instruction(statement: Statement, escape: str) -> Instruction:
    """Raises BuildError with the line; the message begins with the instruction's name."""
    reader = READERS.get(statement.name)
    if reader is None:
        hint = suggestion(statement.name, READERS)
        raise BuildError(f"unknown instruction: {statement.name[:40]}{hint}", statement.line)
    try:
        found = reader(statement, escape)
        if isinstance(found, Onbuild):
            trigger(found.expression, statement.line)
        return found
    except BuildError as error:
        text = error.message if error.message.startswith(statement.name) else f"{statement.name}: {error.message}"
        raise BuildError(text, statement.line) from None


def trigger(expression: str, line: int) -> Instruction:
    """The instruction of an ONBUILD, for the FROM on `line`. Raises BuildError."""
    try:
        found = grammar.parse(expression)
        if len(found.statements) != 1:
            raise BuildError("onbuild trigger should be a single expression")
        statement = replace(found.statements[0], line=line)
        if statement.name in ("ONBUILD", "FROM", "MAINTAINER"):
            raise BuildError(f"{statement.name} isn't allowed as an ONBUILD trigger")
        return instruction(statement, found.escape)
    except BuildError as error:
        raise BuildError(f"ONBUILD {error.message}", line) from None


READERS: Mapping[str, Reader] = {
    "FROM": from_, "RUN": processes.run, "CMD": processes.cmd, "ENTRYPOINT": processes.entrypoint, "COPY": files.copy,
    "ADD": files.add, "ENV": settings.env, "LABEL": settings.label, "ARG": settings.arg, "WORKDIR": settings.workdir,
    "USER": settings.user, "EXPOSE": settings.expose, "VOLUME": settings.volume, "SHELL": processes.shell,
    "HEALTHCHECK": processes.healthcheck, "STOPSIGNAL": settings.stopsignal, "MAINTAINER": settings.maintainer,
    "ONBUILD": settings.onbuild,
}  # fmt: skip
