"""Statements to instructions: flags, JSON and `name=value`. What is not supported is refused by name, with its line."""

from __future__ import annotations

import json
from collections.abc import Callable

from nodeagent.images.build import words
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.grammar import Dockerfile, Statement
from nodeagent.images.build.instructions import (
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Instruction,
    Label,
    Listed,
    Pairs,
    Run,
    User,
    Volume,
    Workdir,
)  # fmt: skip

REFUSED = {
    "HEALTHCHECK": "declare probes in the pod's manifest",
    "MAINTAINER": "write LABEL org.opencontainers.image.authors=... instead",
    "ONBUILD": "",
    "SHELL": "name the shell in each RUN, in the JSON form",
    "STOPSIGNAL": "",
}


def read(dockerfile: Dockerfile) -> tuple[Instruction, ...]:
    """Raises BuildError with the line."""
    return tuple(_instruction(statement, dockerfile.escape) for statement in dockerfile.statements)


def _instruction(statement: Statement, escape: str) -> Instruction:
    reader = _READERS.get(statement.name)
    if statement.name in REFUSED:
        hint = REFUSED[statement.name]
        raise BuildError(f"{statement.name} is not supported{': ' + hint if hint else ''}", statement.line)
    if reader is None:
        raise BuildError(f"unknown instruction {statement.name[:40]!r}", statement.line)
    if not statement.value:
        raise BuildError(f"{statement.name} needs an argument", statement.line)
    try:
        return reader(statement, escape)
    except words.WordError as error:
        raise BuildError(f"{statement.name}: {error}", statement.line) from None


def _flags(statement: Statement, *allowed: str) -> tuple[dict[str, str], str]:
    """`--name=value` before the arguments, and the arguments. One that is not allowed is refused by name."""
    found: dict[str, str] = {}
    rest = statement.value
    while rest.startswith("--"):
        word, _, rest = rest.partition(" ")
        rest = rest.lstrip()
        name, equals, value = word[2:].partition("=")
        if name not in allowed:
            raise BuildError(f"{statement.name} --{name[:40]} is not supported", statement.line)
        if not equals or not value:
            raise BuildError(f"{statement.name} --{name} needs a value: --{name}=...", statement.line)
        if name in found:
            raise BuildError(f"{statement.name} --{name} is given twice", statement.line)
        found[name] = value
    return found, rest


def _json_list(text: str) -> tuple[str, ...] | None:
    """The JSON form; None when it is none, and then the shell form is meant (as Docker has it)."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _from(statement: Statement, escape: str) -> From:
    flags, rest = _flags(statement, "platform")
    parts = rest.split()
    if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1].upper() != "AS"):
        raise BuildError("FROM takes an image, or IMAGE AS NAME", statement.line)
    name = parts[2].lower() if len(parts) == 3 else ""
    if name and not (name[0].isalpha() and all(char.isalnum() or char in "-_." for char in name) and name.isascii()):
        raise BuildError(f"invalid stage name {name[:60]!r}: letters, digits, -, _ and ., a letter first", statement.line)
    return From(
        line=statement.line, text=statement.text, image=parts[0], name=name, platform=flags.get("platform", "")
    )  # fmt: skip


def _command(cls: type[Command]) -> Callable[[Statement, str], Command]:
    def reader(statement: Statement, escape: str) -> Command:
        # Flags exist for RUN only, and none of them is supported.
        rest = _flags(statement)[1] if cls is Run else statement.value
        exact = _json_list(rest)
        arguments = exact if exact is not None else (rest,)
        if cls is Run and not (arguments and arguments[0].strip()):
            raise BuildError("RUN needs a command", statement.line)
        return cls(line=statement.line, text=statement.text, arguments=arguments, shell=exact is None)

    return reader


def _copy(statement: Statement, escape: str) -> Copy:
    add = statement.name == "ADD"
    flags, rest = _flags(statement, *(("chown", "chmod") if add else ("from", "chown", "chmod")))
    listed = _json_list(rest)
    paths = listed if listed is not None else tuple(words.split(rest, escape))
    if len(paths) < 2:
        raise BuildError(f"{statement.name} needs at least one source and the destination", statement.line)
    for path in paths[:-1] if add else ():
        if path.lower().startswith(("http://", "https://", "git://", "git@")) or path.endswith(".git"):
            raise BuildError(f"ADD of a URL ({path[:80]}) is not supported: fetch it in a RUN", statement.line)
    return Copy(
        line=statement.line, text=statement.text, paths=paths[:-1], target=paths[-1], source=flags.get("from", ""),
        chown=flags.get("chown", ""), chmod=flags.get("chmod", ""), extract=add,
    )  # fmt: skip


def _pairs(cls: type[Pairs]) -> Callable[[Statement, str], Pairs]:
    def reader(statement: Statement, escape: str) -> Pairs:
        found = words.split(statement.value, escape)
        if "=" not in found[0]:
            # The old form: one name, and the rest of the line is its value.
            name, _, value = statement.value.partition(" ")
            if not value.strip():
                raise BuildError(f"{statement.name} needs a name and a value: NAME=VALUE", statement.line)
            return cls(line=statement.line, text=statement.text, pairs=((name, value.strip()),))
        pairs = []
        for word in found:
            name, equals, value = word.partition("=")
            if not equals or not name:
                raise BuildError(f"{statement.name}: {word[:60]!r} is not NAME=VALUE", statement.line)
            pairs.append((name, value))
        return cls(line=statement.line, text=statement.text, pairs=tuple(pairs))

    return reader


def _arg(statement: Statement, escape: str) -> Arg:
    names: list[tuple[str, str | None]] = []
    for word in words.split(statement.value, escape):
        name, equals, value = word.partition("=")
        if not name.replace("_", "a").isalnum() or name[0].isdigit():
            raise BuildError(f"ARG: {name[:60]!r} is not a name", statement.line)
        names.append((name, value if equals else None))
    return Arg(line=statement.line, text=statement.text, names=tuple(names))


def _workdir(statement: Statement, escape: str) -> Workdir:
    return Workdir(line=statement.line, text=statement.text, path=statement.value)


def _user(statement: Statement, escape: str) -> User:
    return User(line=statement.line, text=statement.text, user=statement.value)


def _listed(cls: type[Listed]) -> Callable[[Statement, str], Listed]:
    def reader(statement: Statement, escape: str) -> Listed:
        exact = _json_list(statement.value) if cls is Volume else None
        items = exact if exact is not None else tuple(words.split(statement.value, escape))
        return cls(line=statement.line, text=statement.text, items=items)

    return reader


_READERS: dict[str, Callable[[Statement, str], Instruction]] = {
    "FROM": _from, "RUN": _command(Run), "CMD": _command(Cmd), "ENTRYPOINT": _command(Entrypoint), "COPY": _copy,
    "ADD": _copy, "ENV": _pairs(Env), "LABEL": _pairs(Label), "ARG": _arg, "WORKDIR": _workdir, "USER": _user,
    "EXPOSE": _listed(Expose), "VOLUME": _listed(Volume),
}  # fmt: skip
