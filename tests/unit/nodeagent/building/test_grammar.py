"""A Dockerfile's text to statements: lines, continuations, comments, directives. The cases are BuildKit's kinds of cases."""

from __future__ import annotations

import pytest

from nodeagent.building.errors import BuildError
from nodeagent.building.grammar import parse

TEXTS = {
    "a comment in a continuation": (
        "FROM a\nRUN one && \\\n  # no part of it\n  two",
        [("FROM", "a", 1), ("RUN", "one &&   two", 2)],
    ),
    "a comment in a continuation that ends with an escape": ("RUN a \\\n# b \\\n c\nUSER x", [("RUN", "a  c", 1), ("USER", "x", 4)]),
    "an empty line in a continuation": ("RUN one \\\n\n\n  two\nUSER x", [("RUN", "one   two", 1), ("USER", "x", 5)]),
    "a line of blanks in a continuation": ("RUN one \\\n \t \ntwo", [("RUN", "one two", 1)]),
    "a continuation at the end": ("RUN one \\", [("RUN", "one", 1)]),
    "a continuation and a comment at the end": ("RUN one \\\n# bye", [("RUN", "one", 1)]),
    "blanks after the escape": ("RUN one \\ \t\ntwo\\  \nthree", [("RUN", "one twothree", 1)]),
    "an escaped escape continues nothing": ("ENV C trailing\\\\\nENV D no part of C", [("ENV", "C trailing\\\\", 1), ("ENV", "D no part of C", 2)]),
    "an escape alone on its line": ("ENV E hello\\\n\\\nworld", [("ENV", "E helloworld", 1)]),
    "an escape behind blanks alone on its line": ("ENV F hello\\\n \\\nworld", [("ENV", "F hello world", 1)]),
    "an escape before the instruction": ("\\\nFROM a", [("FROM", "a", 1)]),
    "an instruction split in its name": ("FR\\\nOM a", [("FROM", "a", 1)]),
    "an instruction and its argument on two lines": ("FROM \\\n  a", [("FROM", "a", 1)]),
    "names in small letters": ("from a\nrUn b", [("FROM", "a", 1), ("RUN", "b", 2)]),
    "tabs between words": ("FROM\ta\nLABEL\tm\tS L <s@x>", [("FROM", "a", 1), ("LABEL", "m\tS L <s@x>", 2)]),
    "blanks before the instruction": ("   FROM a\n\t\tRUN b  ", [("FROM", "a", 1), ("RUN", "b", 2)]),
    "another escape": ("# escape=`\nFROM a\nRUN one `\n  two\\", [("FROM", "a", 2), ("RUN", "one   two\\", 3)]),
    "an escape directive after another one": ("# syntax = x\n#  EScape  =  ` \nFROM `\n  a", [("FROM", "a", 3)]),
    "an escape after an instruction is a comment": ("FROM a\n# escape=`\nRUN b\\\nc", [("FROM", "a", 1), ("RUN", "bc", 3)]),
    "an escape after a comment is a comment": ("# hello\n# escape=`\nRUN b\\\nc", [("RUN", "bc", 3)]),
    "an escape after an empty line is a comment": ("\n# escape=`\nRUN b\\\nc", [("RUN", "bc", 3)]),
    "an escape after an unknown directive is a comment": ("# key=x\n# escape=`\nRUN b\\\nc", [("RUN", "bc", 3)]),
    "a shebang": ("#!/usr/bin/env docker\nFROM a", [("FROM", "a", 2)]),
    "lines that end as on Windows": ("FROM a\r\nRUN b \\\r\n c\r\n", [("FROM", "a", 1), ("RUN", "b  c", 2)]),
    "a byte order mark": ("\ufeffFROM a", [("FROM", "a", 1)]),
    "a byte order mark before a directive": ("\ufeff# escape=`\nRUN a `\nb", [("RUN", "a b", 2)]),
    "a name alone": ("FROM a\nRUN", [("FROM", "a", 1), ("RUN", "", 2)]),
    "an instruction called COMMENT": ("FROM a\nCOMMENT b", [("FROM", "a", 1), ("COMMENT", "b", 2)]),
    "a hash within a line": ("RUN a # b", [("RUN", "a # b", 1)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_statements(name: str) -> None:
    """Name, value and line of each."""
    text, wanted = TEXTS[name]
    assert [(item.name, item.value, item.line) for item in parse(text).statements] == wanted


FLAGS = [
    ("COPY foo /tmp/", (), "foo /tmp/"), ("COPY --user=me foo /tmp/", ("--user=me",), "foo /tmp/"),
    ("COPY --a=1 --b foo /tmp/", ("--a=1", "--b"), "foo /tmp/"), ("COPY --doit=true -- foo /tmp/", ("--doit=true",), "foo /tmp/"),
    ("COPY -- foo /tmp/", (), "foo /tmp/"), ('CMD --doit [ "a", "b" ]', ("--doit",), '[ "a", "b" ]'), ("CMD --doit -- [ ]", ("--doit",), "[ ]"),
    ('RUN --mount="type=bind,source=a b" x', ("--mount=type=bind,source=a b",), "x"), ("RUN --a='b c'd x", ("--a=b cd",), "x"),
    ("RUN --a=b\\ c x", ("--a=b c",), "x"), ("RUN --a=\\\\ x", ("--a=\\",), "x"), ("RUN -x --y", (), "-x --y"), ("RUN --a=1", ("--a=1",), ""),
    ("RUN --a=1 \\\n  --b=2 \\\n  # why\n  x", ("--a=1", "--b=2"), "x"), ("RUN x --y", (), "x --y"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "flags", "value"), FLAGS)
def test_flags_before_the_arguments(text: str, flags: tuple[str, ...], value: str) -> None:
    """Without their quotes and escapes; `--` ends them."""
    [found] = parse(text).statements
    assert (found.flags, found.value) == (flags, value)


HEREDOCS = {
    "empty": ("RUN <<E\nE", [("E", True, "")]),
    "with a number": ("RUN 3<<E\nE", [("E", True, "")]),
    "content as it is": ("RUN <<E\n\tfoo\n# no comment\n\\\nE", [("E", True, "\tfoo\n# no comment\n\\\n")]),
    "tabs removed, also before the end": ("RUN <<-E\n\t\tfoo\n  bar\n\tE", [("E", True, "foo\n  bar\n")]),
    "quoted": ("RUN <<'E'\n$x\nE", [("E", False, "$x\n")]),
    "quoted in part": ("RUN <<e'o'f\nx\neof", [("eof", False, "x\n")]),
    "an escaped quote quotes nothing": ("RUN <<eo\\'f\nx\neo'f", [("eo'f", True, "x\n")]),
    "a name of two words": ("RUN <<'one two'\nx\none two", [("one two", False, "x\n")]),
    "a variable as the name": ("RUN <<$E\n$E", [("$E", True, "")]),
    "blanks before the name": ("RUN <<  E  > foo\nE", [("E", True, "")]),
    "several": ("COPY <<a <<b /d\n1\na\n2\nb", [("a", True, "1\n"), ("b", True, "2\n")]),
    "each in the other": ("COPY <<X <<Y /d\nY\nX\nX\nY", [("X", True, "Y\n"), ("Y", True, "X\n")]),
    "behind flags": ("RUN --mount=type=cache,target=/x <<E\nx\nE", [("E", True, "x\n")]),
    "behind a continuation": ("RUN <<E \\\n  cat\nx\nE", [("E", True, "x\n")]),
    "a file's name": ("COPY <<file.txt /d\nx\nfile.txt", [("file.txt", True, "x\n")]),
    "of a trigger": ("ONBUILD RUN <<E\nx\nE", [("E", True, "x\n")]),
    "in quotes it is none": ('RUN "<<E"', []),
    "in JSON it is none": ('RUN ["<<E"]', []),
    "of another instruction it is none": ("USER <<E", []),
    "a here-string is none": ("RUN a <<<x", []),
    "a shift is none": ("RUN echo $((1<<2))", []),
    "without a name it is none": ("RUN a <<", []),
    "with a quote of the shell's it is none": ("RUN echo it's <<E", []),
    "lines that end as on Windows": ("RUN <<E\r\nx\r\nE\r\nUSER y", [("E", True, "x\r\n")]),
}  # fmt: skip


@pytest.mark.parametrize("name", HEREDOCS)
def test_here_documents(name: str) -> None:
    """Name, whether variables in it count, and content."""
    text, wanted = HEREDOCS[name]
    assert [(item.name, item.expand, item.text) for item in parse(text).statements[0].heredocs] == wanted


def test_lines_are_counted_through_here_documents() -> None:
    """Errors after one name the right line."""
    assert [item.line for item in parse("RUN <<E\na\n\nE\nRUN b \\\n\nc\nRUN d").statements] == [1, 5, 8]


def test_directives_without_effect_are_ignored_with_a_note() -> None:
    """And the escape directive after them still holds."""
    found = parse("# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=`\nFROM a")
    assert found.escape == "`"
    assert "syntax=docker/dockerfile:1" in found.notes[0]
    assert "check=skip=all" in found.notes[1]


def test_an_empty_continuation_line_is_noted() -> None:
    """With the line of the instruction."""
    [note] = parse("FROM a\nRUN b \\\n\n c").notes
    assert note.startswith("line 2: an empty line")


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [("", "no instruction", 0), ("# only\n", "no instruction", 0), ("# escape=x\nFROM a", "escape character", 1), ("RUN a\n" * 1001, "1000", 1001),
     ("FROM " + "a" * 300_000, "256 KiB", 0), ("FROM a\nUSER \0", "NUL", 2), ("# escape=`\n# escape=`\nFROM a", "given twice", 2),
     ("FROM a\nRUN <<E\nx", "unterminated heredoc", 2), ("FROM a\nRUN " + "<<E " * 100 + "\nE\n" * 100, "here-documents", 2)],
)  # fmt: skip
def test_what_is_no_dockerfile(text: str, words: str, line: int) -> None:
    """Empty, too long, or with a directive or here-document that is none."""
    with pytest.raises(BuildError, match=words) as caught:
        parse(text)
    assert caught.value.line == line
