"""FROM, ARG, and the instructions that set what an image's config says."""

from __future__ import annotations

import re

from nodeagent.building import flags, jsonform, whitespace, words
from nodeagent.building.errors import BuildError
from nodeagent.building.grammar import Statement
from nodeagent.building.instructions import (  # fmt: skip
    Arg,
    Env,
    Expose,
    From,
    Label,
    Maintainer,
    Onbuild,
    Stopsignal,
    User,
    Volume,
    Workdir,
)

_STAGE = re.compile(r"[a-z][a-z0-9-_.]*")
_ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)
MAX_ITEMS = 1_000


def from_(statement: Statement, escape: str) -> From:
    """`FROM [--platform=] IMAGE [AS NAME]`"""
    given = flags.parse(statement.flags, statement.line, texts=("platform",))
    parts = whitespace.fields(statement.value)
    if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1].upper() != "AS"):
        raise BuildError("FROM requires either one or three arguments: IMAGE, or IMAGE AS NAME", statement.line)
    name = parts[2].lower() if len(parts) == 3 else ""
    if name and not _STAGE.fullmatch(name):
        text = "name can't start with a number or contain symbols"
        raise BuildError(f"invalid name for build stage: {parts[2][:60]!r}, {text}", statement.line)
    return From(
        line=statement.line, text=statement.text, image=parts[0], name=name, platform=given.text("platform")
    )  # fmt: skip


def arg(statement: Statement, escape: str) -> Arg:
    """`ARG NAME[=DEFAULT]...`"""
    flags.parse(statement.flags, statement.line)
    names: list[tuple[str, str | None]] = []
    for word in _words(statement, escape):
        name, equals, value = word.partition("=")
        if not name:
            raise BuildError("ARG names can not be blank", statement.line)
        names.append((name, value if equals else None))
    return Arg(line=statement.line, text=statement.text, names=tuple(names))


def env(statement: Statement, escape: str) -> Env:
    """`ENV NAME=VALUE...`, `ENV NAME VALUE`"""
    return Env(line=statement.line, text=statement.text, pairs=_pairs(statement, escape))


def label(statement: Statement, escape: str) -> Label:
    """`LABEL NAME=VALUE...`, `LABEL NAME VALUE`"""
    return Label(line=statement.line, text=statement.text, pairs=_pairs(statement, escape))


def _pairs(statement: Statement, escape: str) -> tuple[tuple[str, str], ...]:
    flags.parse(statement.flags, statement.line)
    found = _words(statement, escape)
    if "=" not in found[0]:
        # The old form: one name, and the rest of the line is its value.
        name, value = whitespace.partition(statement.value)
        if not value:
            raise BuildError(f"{statement.name} must have two arguments: NAME=VALUE", statement.line)
        return ((name, value),)
    pairs = []
    for word in found:
        name, equals, value = word.partition("=")
        if not equals:
            text = f"Syntax error - can't find = in {word[:60]!r}. Must be of the form: name=value"
            raise BuildError(text, statement.line)
        if not name:
            raise BuildError(f"{statement.name} names can not be blank", statement.line)
        pairs.append((name, value))
    return tuple(pairs)


def _words(statement: Statement, escape: str) -> list[str]:
    found = words.split(statement.value, escape)
    if not found:
        raise BuildError(f"{statement.name} requires at least one argument", statement.line)
    if len(found) > MAX_ITEMS:
        raise BuildError(f"{statement.name} has more than {MAX_ITEMS} arguments", statement.line)
    return found


def _one(statement: Statement) -> str:
    flags.parse(statement.flags, statement.line)
    if not statement.value:
        raise BuildError(f"{statement.name} requires exactly one argument", statement.line)
    return statement.value


def workdir(statement: Statement, escape: str) -> Workdir:
    """`WORKDIR PATH`"""
    return Workdir(line=statement.line, text=statement.text, path=_one(statement))


def user(statement: Statement, escape: str) -> User:
    """`USER USER[:GROUP]`"""
    return User(line=statement.line, text=statement.text, user=_one(statement))


def stopsignal(statement: Statement, escape: str) -> Stopsignal:
    """`STOPSIGNAL SIGNAL`"""
    return Stopsignal(line=statement.line, text=statement.text, signal=_one(statement))


def maintainer(statement: Statement, escape: str) -> Maintainer:
    """`MAINTAINER NAME`, which LABEL has replaced."""
    return Maintainer(line=statement.line, text=statement.text, author=_one(statement))


def expose(statement: Statement, escape: str) -> Expose:
    """`EXPOSE PORT[-PORT][/PROTOCOL]...`"""
    return Expose(line=statement.line, text=statement.text, items=_items(statement))


def volume(statement: Statement, escape: str) -> Volume:
    """`VOLUME PATH...`, `VOLUME ["PATH", ...]`"""
    exact = jsonform.strings(statement.value, statement.line)
    items = tuple(map(whitespace.strip, exact)) if exact is not None else _items(statement)
    if not items or not all(items):
        raise BuildError("VOLUME specified can not be an empty string", statement.line)
    return Volume(line=statement.line, text=statement.text, items=items)


def _items(statement: Statement) -> tuple[str, ...]:
    flags.parse(statement.flags, statement.line)
    found = tuple(whitespace.fields(statement.value))
    if not found:
        raise BuildError(f"{statement.name} requires at least one argument", statement.line)
    if len(found) > MAX_ITEMS:
        raise BuildError(f"{statement.name} has more than {MAX_ITEMS} arguments", statement.line)
    return found


def onbuild(statement: Statement, escape: str) -> Onbuild:
    """`ONBUILD INSTRUCTION`, kept as the text of a Dockerfile with that instruction."""
    flags.parse(statement.flags, statement.line)
    name = whitespace.partition(statement.value)[0].upper()
    if not name:
        raise BuildError("ONBUILD requires at least one argument", statement.line)
    if name == "ONBUILD":
        raise BuildError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", statement.line)
    if name in ("MAINTAINER", "FROM"):
        raise BuildError(f"{name} isn't allowed as an ONBUILD trigger", statement.line)
    lines = [_ONBUILD.sub("", statement.source, count=1)]
    lines += [f"{document.content}{document.name}" for document in statement.heredocs]
    return Onbuild(line=statement.line, text=statement.text, expression="\n".join(lines))
