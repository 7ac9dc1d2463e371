"""Statements to instructions, and every refusal by name and line."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.building import grammar, reading
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import (  # fmt: skip
    Command,
    Copy,
    Env,
    From,
    Healthcheck,
    Maintainer,
    Onbuild,
    Pairs,
    Run,
    Shell,
    Stopsignal,
)

SHELL = ("/bin/sh", "-c")


def read(text: str) -> Any:
    [found] = reading.read(grammar.parse(text))
    return found


@pytest.mark.parametrize(
    ("text", "argv"),
    [('RUN ["a", "b c"]', ("a", "b c")), ("RUN a 'b c'", (*SHELL, "a 'b c'")), ('CMD ["a"]', ("a",)), ("CMD []", ()), ('CMD [""]', ("",)),
     ("CMD ['a']", (*SHELL, "['a']")), ("ENTRYPOINT exec top -b", (*SHELL, "exec top -b")), ('CMD\t[\t"a",\t"b"\t]\t', ("a", "b")),
     ('CMD ["echo", "no end"', (*SHELL, '["echo", "no end"')), ('CMD ["echo", "no quote]', (*SHELL, '["echo", "no quote]')),
     ('CMD ["a"] x', (*SHELL, '["a"] x')), ('CMD \'["a"]\'', (*SHELL, '\'["a"]\'')), ("CMD [NaN]", (*SHELL, "[NaN]")), ("CMD -- --flag x", (*SHELL, "--flag x")),
     ('CMD ["\\" \\\\ \\/ \\b \\n \\u0041 \\u2603"]', ("\" \\ / \b \n A ☃",)), ('CMD ["\\ud800"]', ("\ufffd",)), ("CMD " + "[" * 100_000, (*SHELL, "[" * 100_000)),
     ("RUN <<E\na\nb\nE", (*SHELL, "a\nb\n")), ("RUN <<-E\n\ta\nE", (*SHELL, "a\n")), ("RUN <<E cat\n\ta\nE", (*SHELL, "<<E cat\n\ta\nE")),
     ("RUN <<'A' cat; <<-B cat\n1\nA\n\t2\n\tB", (*SHELL, "<<'A' cat; <<-B cat\n1\nA\n\t2\nB")), ("RUN <<E\n#!/bin/x\na\nE", (*SHELL, "/dev/pipes/E"))],
)  # fmt: skip
def test_exec_and_shell_forms(text: str, argv: tuple[str, ...]) -> None:
    """What is no JSON array is a line for the shell; a here-document is its script or its input."""
    found = read(text)
    assert isinstance(found, Command)
    assert found.argv() == argv


def test_the_shell_form_uses_the_shell_that_is_set() -> None:
    """And the JSON form none."""
    assert read("RUN a").argv(("bash", "-ec")) == ("bash", "-ec", "a")
    assert read('RUN ["a"]').argv(("bash", "-ec")) == ("a",)


def test_a_here_document_that_begins_with_a_shebang_is_a_script() -> None:
    """A file of its own, without the tabs that `-` removes."""
    found = read("RUN <<-E\n\t#!/usr/bin/env python3\n\tprint()\nE")
    assert isinstance(found, Run)
    assert found.script is not None
    assert (found.script.name, found.script.text) == ("E", "#!/usr/bin/env python3\nprint()\n")


def test_from() -> None:
    """Image, stage name in small letters, platform."""
    found = read("FROM --platform=$BUILDPLATFORM\tgolang:1.2 \\\n  aS Build")
    assert isinstance(found, From)
    assert (found.image, found.name, found.platform) == ("golang:1.2", "build", "$BUILDPLATFORM")


def test_copy() -> None:
    """Flags, several sources, here-documents, and JSON for names with blanks."""
    found = read("COPY --from=build --chown=1:2 --chmod=755 --link --parents=false --exclude=a --exclude=*.b a b /c/")
    assert isinstance(found, Copy)
    assert (found.paths, found.target, found.source, found.chown, found.chmod) == (("a", "b"), "/c/", "build", "1:2", "755")
    assert (found.link, found.parents, found.excludes, found.unpacks_local) == (True, False, ("a", "*.b"), False)
    found = read('ADD ["a b.tar", "/c d/"]')
    assert (found.paths, found.target, found.unpacks_local) == (("a b.tar",), "/c d/", True)
    assert not read("ADD --unpack=false a.tar /x").unpacks_local
    found = read("COPY a <<x <<'y' /d/\n1\nx\n2\ny")
    assert (found.paths, [item.name for item in found.documents], found.target) == (("a",), ["x", "y"], "/d/")
    found = read("ADD --checksum=sha256:" + "0" * 64 + " https://example.org/x /x")
    assert found.paths == ("https://example.org/x",)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [('ENV A=1 B="two words" C=a\\ b', (("A", "1"), ("B", '"two words"'), ("C", "a\\ b"))), ("ENV A one  two ", (("A", "one  two"),)),
     ("LABEL a.b=c", (("a.b", "c"),)), ("ENV A=", (("A", ""),)), ("ENV A=b=c", (("A", "b=c"),)), ("ENV A\tone", (("A", "one"),)),
     ('ENV A "one=two"', (("A", '"one=two"'),)), ('ENV "A B"=c', (('"A B"', "c"),)), ("ENV A=1 \\\n  B=2 \\\n# why\n  C=3", (("A", "1"), ("B", "2"), ("C", "3")))],
)  # fmt: skip
def test_pairs(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    """Both forms; quotes are taken off with the variables, later."""
    found = read(text)
    assert isinstance(found, Pairs)
    assert found.pairs == pairs
    assert isinstance(found, Env) == text.startswith("ENV")


@pytest.mark.parametrize(
    ("text", "names"),
    [("ARG A", (("A", None),)), ("ARG A=", (("A", ""),)), ('ARG A="1 2" B', (("A", '"1 2"'), ("B", None))), ("ARG a-b=1", (("a-b", "1"),))],
)  # fmt: skip
def test_args(text: str, names: tuple[tuple[str, str | None], ...]) -> None:
    """With and without a default."""
    assert read(text).names == names


@pytest.mark.parametrize(
    ("text", "config"),
    [("HEALTHCHECK NONE", {"Test": ["NONE"]}), ("healthcheck none", {"Test": ["NONE"]}), ("HEALTHCHECK CMD a b", {"Test": ["CMD-SHELL", "a b"]}),
     ('HEALTHCHECK --interval=5s --retries=3 \\\n  CMD ["a", "b"]', {"Test": ["CMD", "a", "b"], "Interval": 5 * 10**9, "Retries": 3}),
     ("HEALTHCHECK --timeout=1m30s --start-period=1.5h --start-interval=300ms cmd x",
      {"Test": ["CMD-SHELL", "x"], "Timeout": 90 * 10**9, "StartPeriod": 5400 * 10**9, "StartInterval": 3 * 10**8}),
     ("HEALTHCHECK --interval=0s --retries=0 CMD x", {"Test": ["CMD-SHELL", "x"]})],
)  # fmt: skip
def test_healthchecks(text: str, config: dict[str, Any]) -> None:
    """As an image's config has them: durations in nanoseconds."""
    found = read(text)
    assert isinstance(found, Healthcheck)
    assert dict(found.config) == config


def test_small_instructions() -> None:
    """SHELL, STOPSIGNAL, MAINTAINER."""
    assert isinstance(read('SHELL ["bash", "-c"]'), Shell)
    assert read('SHELL ["bash", "-c"]').items == ("bash", "-c")
    assert isinstance(read("STOPSIGNAL $SIG"), Stopsignal)
    assert isinstance(read("MAINTAINER A B <a@b>"), Maintainer)
    assert read("MAINTAINER A B <a@b>").author == "A B <a@b>"


@pytest.mark.parametrize(
    ("text", "expression"),
    [("ONBUILD RUN a", "RUN a"), ("onbuild   copy a b", "copy a b"), ("ONBUILD RUN a \\\n  b", "RUN a   b"),
     ("ONBUILD COPY <<x <<y /d/\n1\nx\n2\ny", "COPY <<x <<y /d/\n1\nx\n2\ny"), ("ONBUILD HEALTHCHECK --retries=1 CMD x", "HEALTHCHECK --retries=1 CMD x")],
)  # fmt: skip
def test_triggers_are_kept_as_text(text: str, expression: str) -> None:
    """That is a Dockerfile of one instruction again."""
    found = read(text)
    assert isinstance(found, Onbuild)
    assert found.expression == expression
    assert reading.trigger(expression, 7).line == 7


REFUSALS = [
    ("FROBNICATE x", "unknown instruction: FROBNICATE"), ("RUNN x", "did you mean RUN?"), ("FORM x", "did you mean FROM?"),
    ("RUN --mont=type=cache,target=/x true", "unknown flag: --mont (did you mean mount?)"), ("RUN --mount=typ=tmpfs,target=/x y", "unexpected key 'typ'"),
    ("RUN --mount=type=ssh true", "type=ssh is not supported"), ("RUN --mount=type=tmp,target=/x y", 'unsupported mount type "tmp" (did you mean tmpfs?)'),
    ("RUN --mount=type=cache,from=$X,target=/x y", "doesn't support variable expansion"), ("RUN --network=host true", "entitlement network.host"),
    ("RUN --network=bridge true", "invalid network mode"), ("RUN --security=insecure true", "entitlement security.insecure"), ("RUN --security=x true", "not valid"),
    ("RUN --device=x true", "unknown flag: --device"), ("COPY --lnk a b", "unknown flag: --lnk (did you mean link?)"), ("COPY --link=x a b", "boolean value"),
    ("COPY --link= a b", "missing a value"), ("COPY --from=$X a b", "variable expansion is not supported for --from"), ("COPY --checksum=x a b", "unknown flag: --checksum"),
    ("ADD --from=x a b", "unknown flag: --from"), ("ADD --checksum=x a b", "requires HTTP"), ("ADD --checksum=x a b c", "multiple sources"), ("ADD --checksum=x http://h/a b", "not a digest"), ("ADD --checksum= http://h/a b", "not a digest"),
    ("ADD git@github.com:a/b.git /x", "a git repository"), ("ADD https://github.com/a/b.git#main /x", "a git repository"), ("ADD --keep-git-dir=true a /x", "git repositories"),
    ("COPY https://example.org/x /x", "can't be a URL"), ("COPY a", "at least two arguments"), ("COPY --chown a b", "missing a value"),
    ("COPY --chown=a --chown=b a b", "duplicate flag"), ('COPY ["a", 1]', "strings only"), ("COPY a <<E\nE", "heredoc as a destination"),
    ("COPY <<a/b /x\na/b", "not that of a file"), ("COPY <<.. /x\n..", "not that of a file"), ("RUN <<../x\n#!/bin/sh\n../x", "not that of a file"),
    ("FROM", "one or three arguments"), ("FROM a b", "one or three arguments"), ("FROM a AS 1b", "build stage"), ("FROM a AS b/c", "build stage"),
    ("FROM --x=y a", "unknown flag: --x"), ("ENV A", "must have two arguments"), ("ENV A=1 B", "can't find = in 'B'"), ("ENV =1", "can not be blank"), ("ENV", "at least one"),
    ("ARG =2", "can not be blank"), ("ARG", "at least one"), ("RUN []", "requires a command"), ("RUN", "requires a command"), ('RUN ["a", 1]', "strings only"),
    ("CMD --flag x", "unknown flag: --flag"), ("CMD", "at least one"), ("ENTRYPOINT", "at least one"), ("SHELL bash", "JSON form"), ("SHELL []", "at least one"),
    ("HEALTHCHECK", "at least one"), ("HEALTHCHECK NONE x", "takes no arguments"), ("HEALTHCHECK CONNECT TCP 7000", 'Unknown type "CONNECT"'), ("HEALTHCHECK CMD", "Missing command"),
    ("HEALTHCHECK CMD []", "Missing command"), ("HEALTHCHECK --interval=1us CMD x", "less than 1ms"), ("HEALTHCHECK --interval=-1s CMD x", ""),
    ("HEALTHCHECK --interval=x CMD x", "--interval"), ("HEALTHCHECK --retries=-1 CMD x", "--retries"), ("HEALTHCHECK --retries=99999999999 CMD x", "--retries"),
    ("STOPSIGNAL", "exactly one argument"), ("USER", "exactly one argument"), ("WORKDIR", "exactly one argument"), ("EXPOSE", "at least one"), ("VOLUME", "at least one argument"),
    ('VOLUME ["a", ""]', "empty string"), ("ONBUILD", "at least one"), ("ONBUILD ONBUILD RUN x", "isn't allowed"), ("ONBUILD FROM x", "isn't allowed"),
    ("ONBUILD MAINTAINER x", "isn't allowed"), ("ONBUILD RUNN x", "unknown instruction: RUNN"), ("ONBUILD COPY a", "at least two arguments"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "words"), REFUSALS)
def test_refusals_name_the_instruction_and_the_line(statement: str, words: str) -> None:
    """What is not supported is never passed over."""
    with pytest.raises(BuildError) as caught:
        reading.read(grammar.parse(f"# first\n{statement}\n"))
    assert words in caught.value.message
    assert caught.value.line == 2
    assert statement.split()[0] in caught.value.message
