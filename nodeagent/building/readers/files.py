"""COPY and ADD."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from nodeagent.building import flags, heredocs, jsonform, whitespace
from nodeagent.building.errors import BuildError
from nodeagent.building.expansion import ExpansionError
from nodeagent.building.grammar import Statement
from nodeagent.building.heredocs import Heredoc
from nodeagent.building.instructions import Copy

_TEXTS, _LISTS = ("chown", "chmod"), ("exclude",)
# What BuildKit takes for a git repository; a plain path that ends with .git is one of the context.
_GIT = re.compile(r"(git|ssh)://.*|[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:.*|https?://[^#?]*\.git([#?].*)?")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
MAX_PATHS = 1_000


def copy(statement: Statement, escape: str) -> Copy:
    """`COPY [--from=] [--chown=] [--chmod=] [--link] [--parents] [--exclude=]... SOURCE... TARGET`"""
    given = flags.parse(statement.flags, statement.line, texts=(*_TEXTS, "from"), lists=_LISTS, booleans=("link", "parents"))
    paths, documents, target = _arguments(statement)
    check_sources(paths, add=False, line=statement.line)
    origin = given.text("from")
    if "$" in origin:
        text = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope"
        raise BuildError(text, statement.line)
    return Copy(
        line=statement.line, text=statement.text, paths=paths, documents=documents, target=target, source=origin,
        chown=given.text("chown"), chmod=given.text("chmod"), link=bool(given.boolean("link")),
        parents=bool(given.boolean("parents")), excludes=given.listed("exclude"),
    )  # fmt: skip


def add(statement: Statement, escape: str) -> Copy:
    """`ADD [--chown=] [--chmod=] [--link] [--exclude=]... [--checksum=] [--unpack] SOURCE... TARGET`"""
    given = flags.parse(
        statement.flags, statement.line, texts=(*_TEXTS, "checksum"), lists=_LISTS,
        booleans=("link", "keep-git-dir", "unpack"),
    )  # fmt: skip
    paths, documents, target = _arguments(statement)
    check_sources(paths, add=True, line=statement.line)
    if given.boolean("keep-git-dir"):
        raise BuildError(
            "ADD --keep-git-dir is for git repositories, which are not supported: clone it in a RUN", statement.line
        )
    if "checksum" in given.values:
        check_checksum(given.text("checksum"), paths, statement.line)
    return Copy(
        line=statement.line, text=statement.text, paths=paths, documents=documents, target=target,
        chown=given.text("chown"), chmod=given.text("chmod"), link=bool(given.boolean("link")),
        excludes=given.listed("exclude"), add=True, unpack=given.boolean("unpack"), checksum=given.text("checksum"),
    )  # fmt: skip


def check_sources(paths: Iterable[str], *, add: bool, line: int) -> None:
    """Raises BuildError for a source that the instruction does not take; again once variables are replaced."""
    for path in paths:
        if _GIT.fullmatch(path):
            text = "is not supported: clone it in a RUN" if add else "is not for COPY"
            raise BuildError(f"a git repository as the source ({path[:80]}) {text}", line)
        if is_url(path) and not add:
            raise BuildError(f"source can't be a URL for COPY: {path[:80]}", line)


def is_url(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def check_checksum(checksum: str, paths: Sequence[str], line: int) -> None:
    """Raises BuildError; again once variables are replaced."""
    if len(paths) != 1:
        raise BuildError("checksum can't be specified for multiple sources", line)
    if not is_url(paths[0]) and "$" not in paths[0]:
        raise BuildError("checksum requires HTTP(S) sources", line)
    if not _CHECKSUM.fullmatch(checksum) and "$" not in checksum:
        raise BuildError(f"--checksum={checksum[:80]} is not a digest such as sha256:<64 hexadecimal digits>", line)


def _arguments(statement: Statement) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Paths, here-documents, and the target."""
    name = statement.name
    listed = jsonform.strings(statement.value, statement.line)
    words = listed if listed is not None else tuple(whitespace.fields(statement.value))
    if len(words) < 2:
        text = f"{name} requires at least two arguments, but only {len(words)} was provided"
        raise BuildError(f"{text}. Destination could not be determined", statement.line)
    if len(words) > MAX_PATHS:
        raise BuildError(f"{name} has more than {MAX_PATHS} sources", statement.line)
    if _begins(words[-1], statement) is not None:
        raise BuildError(f"{name} cannot accept a heredoc as a destination", statement.line)
    paths, documents = [], []
    contents = iter(statement.heredocs)
    for word in words[:-1]:
        if not statement.heredocs or _begins(word, statement) is None:
            paths.append(word)
            continue
        document = next(contents, None)
        if document is not None:
            documents.append(_named(document, statement))
    return tuple(paths), tuple(documents), words[-1]


def _begins(word: str, statement: Statement) -> Heredoc | None:
    try:
        return heredocs.parse(word)
    except ExpansionError as error:
        raise BuildError(str(error), statement.line) from None


def _named(document: Heredoc, statement: Statement) -> Heredoc:
    """Its name is that of the file."""
    if "/" in document.name or document.name in (".", ".."):
        raise BuildError(f"the name of the heredoc {document.name[:60]!r} is not that of a file", statement.line)
    return document
