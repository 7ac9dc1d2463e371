"""Statements to instructions, and every refusal by name and line."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.images.build import grammar, reading
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.instructions import Command, Copy, Env, From, Pairs


def read(text: str) -> Any:
    [found] = reading.read(grammar.parse(text))
    return found


@pytest.mark.parametrize(
    ("text", "argv"),
    [('RUN ["a", "b c"]', ("a", "b c")), ("RUN a 'b c'", ("/bin/sh", "-c", "a 'b c'")), ('CMD ["a"]', ("a",)), ("CMD []", ()),
     ("CMD ['a']", ("/bin/sh", "-c", "['a']")), ("ENTRYPOINT exec top -b", ("/bin/sh", "-c", "exec top -b")),
     ('RUN ["a", 1]', ("/bin/sh", "-c", '["a", 1]')), ("CMD --flag x", ("/bin/sh", "-c", "--flag x"))],
)  # fmt: skip
def test_exec_and_shell_forms(text: str, argv: tuple[str, ...]) -> None:
    """What is no JSON list of strings is a line for the shell, as with Docker."""
    found = read(text)
    assert isinstance(found, Command)
    assert found.argv == argv


def test_from() -> None:
    """Image, stage name in small letters, platform."""
    found = read("FROM --platform=$BUILDPLATFORM golang:1.2 AS Build")
    assert isinstance(found, From)
    assert (found.image, found.name, found.platform) == ("golang:1.2", "build", "$BUILDPLATFORM")


def test_copy() -> None:
    """Flags, several sources, and JSON for names with blanks."""
    found = read("COPY --from=build --chown=1:2 --chmod=755 a b /c/")
    assert isinstance(found, Copy)
    assert (found.paths, found.target, found.source, found.chown, found.chmod) == (("a", "b"), "/c/", "build", "1:2", "755")
    assert not found.extract
    found = read('ADD ["a b.tar", "/c d/"]')
    assert (found.paths, found.target, found.extract) == (("a b.tar",), "/c d/", True)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [('ENV A=1 B="two words" C=a\\ b', (("A", "1"), ("B", '"two words"'), ("C", "a\\ b"))), ("ENV A one two", (("A", "one two"),)),
     ("LABEL a.b=c", (("a.b", "c"),)), ("ENV A=", (("A", ""),)), ("ENV A=b=c", (("A", "b=c"),))],
)  # fmt: skip
def test_pairs(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    """Both forms; quotes are taken off with the variables, later."""
    found = read(text)
    assert isinstance(found, Pairs)
    assert found.pairs == pairs
    assert isinstance(found, Env) == text.startswith("ENV")


REFUSALS = [
    ("HEALTHCHECK CMD true", "HEALTHCHECK is not supported"), ("ONBUILD RUN true", "ONBUILD is not supported"),
    ("MAINTAINER me", "MAINTAINER is not supported"), ("SHELL [\"/bin/bash\"]", "SHELL is not supported"),
    ("STOPSIGNAL 9", "STOPSIGNAL is not supported"), ("FROBNICATE x", "unknown instruction 'FROBNICATE'"),
    ("RUN --mount=type=cache,target=/x true", "RUN --mount is not supported"), ("RUN --network=none true", "RUN --network"),
    ("RUN --security=insecure true", "RUN --security"), ("COPY --link a b", "COPY --link is not supported"),
    ("COPY --parents a b", "COPY --parents"), ("COPY --exclude=x a b", "COPY --exclude"), ("ADD --from=x a b", "ADD --from"),
    ("ADD --checksum=x a b", "ADD --checksum"), ("ADD https://example.org/x /x", "ADD of a URL"),
    ("ADD git@github.com:a/b.git /x", "ADD of a URL"), ("COPY a", "at least one source"), ("COPY --chown a b", "needs a value"),
    ("COPY --chown=a --chown=b a b", "given twice"), ("FROM", "needs an argument"), ("FROM a b", "IMAGE AS NAME"),
    ("FROM a AS 1b", "stage name"), ("FROM a AS b/c", "stage name"), ("ENV A", "name and a value"), ("ENV A=1 B", "not NAME=VALUE"),
    ("LABEL a=\"b", "not closed"), ("ARG 1x=2", "not a name"), ("ARG a-b", "not a name"), ("RUN []", "needs a command"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "words"), REFUSALS)
def test_refusals_name_the_thing_and_the_line(statement: str, words: str) -> None:
    """Nothing that is not done is passed over."""
    with pytest.raises(BuildError) as caught:
        reading.read(grammar.parse(f"# first\n{statement}\n"))
    assert words in caught.value.message
    assert caught.value.line == 2
