"""A Dockerfile's text to statements: lines, continuations, directives, and what the library alone would lose."""

from __future__ import annotations

import pytest

from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.grammar import parse

TEXTS = {
    "a comment in a continuation": (
        "FROM a\nRUN one && \\\n  # no part of it\n  two",
        [("FROM", "a", 1), ("RUN", "one &&   two", 2)],
    ),
    "an empty line in a continuation": ("RUN one \\\n\n\n  two\nUSER x", [("RUN", "one   two", 1), ("USER", "x", 5)]),
    "a continuation at the end": ("RUN one \\", [("RUN", "one", 1)]),
    "a continuation and a comment at the end": ("RUN one \\\n# bye", [("RUN", "one", 1)]),
    "names in small letters": ("from a\nrun b", [("FROM", "a", 1), ("RUN", "b", 2)]),
    "another escape": ("# escape=`\nFROM a\nRUN one `\n  two\\", [("FROM", "a", 2), ("RUN", "one   two\\", 3)]),
    "an escape after an instruction is a comment": ("FROM a\n# escape=`\nRUN b\\\nc", [("FROM", "a", 1), ("RUN", "bc", 3)]),
    "lines that end as on Windows": ("FROM a\r\nRUN b \\\r\n c\r\n", [("FROM", "a", 1), ("RUN", "b  c", 2)]),
    "a byte order mark": ("\ufeffFROM a", [("FROM", "a", 1)]),
    "a name alone": ("FROM a\nRUN", [("FROM", "a", 1), ("RUN", "", 2)]),
    "an instruction called COMMENT": ("FROM a\nCOMMENT b", [("FROM", "a", 1), ("COMMENT", "b", 2)]),
    "what is in quotes is no here-document": ("RUN echo ' <<EOF'", [("RUN", "echo ' <<EOF'", 1)]),
    "a here-string is none": ("RUN a <<<x", [("RUN", "a <<<x", 1)]),
    "a shift is no here-document": ("RUN echo $((1<<2))", [("RUN", "echo $((1<<2))", 1)]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_statements(name: str) -> None:
    """Name, value and line of each."""
    text, wanted = TEXTS[name]
    assert [(item.name, item.value, item.line) for item in parse(text).statements] == wanted


@pytest.mark.parametrize(
    "statement", ["RUN <<EOF\nx\nEOF", "COPY <<-'EOF' /x\nx\nEOF", "RUN 3<<END cat\nEND", 'ADD <<"E" /a\nE']
)
def test_here_documents_are_refused_by_name(statement: str) -> None:
    """With the line that they begin on."""
    with pytest.raises(BuildError, match="here-document") as caught:
        parse(f"FROM a\n{statement}\n")
    assert caught.value.line == 2
    assert str(caught.value).startswith("Dockerfile:2: ")


def test_a_syntax_directive_is_ignored_with_a_note() -> None:
    """And the escape directive after it still holds."""
    found = parse("# syntax=docker/dockerfile:1\n# escape=`\nFROM a")
    assert found.escape == "`"
    assert "syntax=docker/dockerfile:1" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no instruction"), ("# only\n", "no instruction"), ("# escape=x\nFROM a", "escape character"), ("RUN a\n" * 1001, "1000"),
     ("FROM " + "a" * 300_000, "256 KiB"), ("FROM a\0", "NUL")],
)  # fmt: skip
def test_what_is_no_dockerfile(text: str, words: str) -> None:
    """Empty, too long, or with an escape that is none."""
    with pytest.raises(BuildError, match=words):
        parse(text)
