"""Quotes and variables, by the Dockerfile reference's own rules."""

from __future__ import annotations

import pytest

from nodeagent.images.build.words import WordError, expand, split

VARIABLES = {"V": "value", "EMPTY": "", "foo": "/bar", "NESTED": "$V"}
EXPANSIONS = [
    ("$V", "value"), ("${V}", "value"), ("a${V}b", "avalueb"), ("$V-x", "value-x"), ("$unset", ""), ("${unset}", ""),
    ("${unset:-word}", "word"), ("${EMPTY:-word}", "word"), ("${EMPTY-word}", ""), ("${V:-word}", "value"),
    ("${V:+word}", "word"), ("${unset:+word}", ""), ("${EMPTY:+word}", ""), ("${EMPTY+word}", "word"),
    ("${unset:-a $V ${V:+b}}", "a value b"), ("${unset:-${unset2:-deep}}", "deep"), ("${V:?gone}", "value"),
    (r"\$foo", "$foo"), (r"\${foo}", "${foo}"), ("'$V'", "$V"), ('"$V"', "value"), (r'"\$V"', "$V"), (r'"a\b"', r"a\b"),
    (r'"say \"hi\""', 'say "hi"'), (r"a\ b", "a b"), ("it''s", "its"), ("$", "$"), ("$ a", "$ a"), ("a$", "a$"), ("$$V", "$value"),
    ("$NESTED", "$V"), ("$10", "0"), ("\\", "\\"), ("${V}{}", "value{}"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), EXPANSIONS)
def test_expansion(text: str, wanted: str) -> None:
    """Values are put in once, never read again."""
    assert expand(text, VARIABLES) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [("${V", "missing"), ("${", "name"), ("${}", "name"), ("'open", "not closed"), ('"open', "not closed"), ("${V#x}", "modifier"),
     ("${V/a/b}", "modifier"), ("${unset:?must be given}", "must be given"), ("${a:-" * 40 + "}" * 40, "nested")],
)  # fmt: skip
def test_what_cannot_be_read(text: str, words: str) -> None:
    """An error that says why."""
    with pytest.raises(WordError, match=words):
        expand(text, VARIABLES)


def test_a_value_put_in_too_often_is_an_error() -> None:
    """Not a word of gigabytes; not by nesting either."""
    large = {"A": "x" * 10_000}
    for text in ("$A" * 100_000, '"' + "$A" * 100_000 + '"', "${none:-" + "$A" * 100_000 + "}"):
        with pytest.raises(WordError, match="longer than"):
            expand(text, large)


def test_another_escape_character() -> None:
    """A backslash is then a letter."""
    assert expand(r"`$V c:\$V", VARIABLES, "`") == r"$V c:\value"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a b  c", ["a", "b", "c"]), ('a="b c" d', ['a="b c"', "d"]), (r"a\ b c", [r"a\ b", "c"]), ("'a b'", ["'a b'"]), ("", []),
     (r"'a\' b", [r"'a\'", "b"])],
)  # fmt: skip
def test_split(text: str, wanted: list[str]) -> None:
    """At blanks outside of quotes; the quotes stay."""
    assert split(text) == wanted
