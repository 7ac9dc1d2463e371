"""Quotes and variables, as BuildKit's shell lexer has them."""

from __future__ import annotations

import pytest

from nodeagent.building.expansion import ExpansionError, expand, expand_content, split

VARIABLES = {"V": "value", "EMPTY": "", "foo": "/bar", "NESTED": "$V", "SPACES": " a  b ", "한": "국"}
EXPANSIONS = [
    ("$V", "value"), ("${V}", "value"), ("a${V}b", "avalueb"), ("$V-x", "value-x"), ("$unset", ""), ("${unset}", ""),
    ("${unset:-word}", "word"), ("${EMPTY:-word}", "word"), ("${EMPTY-word}", ""), ("${V:-word}", "value"), ("${unset-word}", "word"),
    ("${V:+word}", "word"), ("${unset:+word}", ""), ("${EMPTY:+word}", ""), ("${EMPTY+word}", "word"), ("${unset:-}", ""),
    ("${unset:-a $V ${V:+b}}", "a value b"), ("${unset:-${unset2:-deep}}", "deep"), ("${V:?gone}", "value"), ("${EMPTY?gone}", ""),
    (r"\$foo", "$foo"), (r"\${foo}", "${foo}"), (r"\\$foo", r"\/bar"), ("'$V'", "$V"), ('"$V"', "value"), (r'"\$V"', "$V"), (r'"a\b"', r"a\b"),
    (r'"say \"hi\""', 'say "hi"'), (r'"a\\b"', r"a\b"), (r"a\ b", "a b"), ("it''s", "its"), ("$", "$"), ("$ a", "$ a"), ("a$", "a$"), ("$.", "$."),
    ("$NESTED", "$V"), ("$10", ""), ("$1x", "x"), ("$$", ""), ("$@@", "@"), ("${1:-b}", "b"), ("\\", ""), ("a\\", "a"), ("${V}{}", "value{}"),
    ("${unset:-a{b}", "a{b"), ("${V}}", "value}"), (r"${unset:-\}}", "}"), ("$한", "국"), ('"it\'s $V"', "it's value"), ("'\"'", '"'),
    ("a<b", "a<b"), ("<<  x", "<<  x"), (r"'a\'", "a\\"),
]  # fmt: skip
PATTERNS = [
    ("${V#v}", "alue"), ("${V#x}", "value"), ("${V#*l}", "ue"), ("${V##*e}", ""), ("${V#*}", "value"), ("${V%e}", "valu"), ("${V%u*}", "val"),
    ("${V%%a*}", "v"), ("${V%?}", "valu"), ("${V##?}", "alue"), ("${foo#$foo}", ""), ("${foo#/}", "bar"), ("${unset#x}", ""), ("${V#}", "value"),
    ("${V/al/-}", "v-ue"), ("${V/x/-}", "value"), ("${foo//\\//-}", "-bar"), ("${V//?/x}", "xxxxx"), ("${V/a*u/-}", "v-e"), ("${V/$EMPTY/ww}", "wwvalue"),
    ("${SPACES// /_}", "_a__b_"), (r"${V/v/\/}", r"\/alue"), ("${V/v/$foo}", "/baralue"), (r"${unset/a/b}", ""), ("${foo//b?/}", "/r"), ("${V///}", "value"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), EXPANSIONS + PATTERNS)
def test_expansion(text: str, wanted: str) -> None:
    """Values are put in once, never read again."""
    assert expand(text, VARIABLES) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [("${V", "missing"), ("${", "missing"), ("${}", "bad substitution"), ("${{V}", "bad substitution"), ("${:-b}", "bad substitution"),
     ("'open", "not closed"), ('"open', "not closed"), (r'"open\"', "not closed"), ("${.}", "unsupported modifier"), ("${V=x}", "unsupported modifier"),
     ("${V:=x}", "unsupported modifier"), ("${V:x}", "unsupported modifier"), *((f"${{V:{sign}x}}", "unsupported modifier") for sign in ("#", "##", "%", "%%")), ("${V:", "missing"),
     ("${unset:?must be given}", "unset: must be given"), ("${unset?}", "not allowed to be unset"), ("${EMPTY:?}", "not allowed to be empty"),
     (r"${V#\x}", "invalid escape"), ("${V//a}", "missing '/'"), ("${V/a/b", "missing '}'"), ("${a:-" * 40 + "}" * 40, "nested"),
     ("${V#" + "a" * 5000 + "}", "more than 4096")],
)  # fmt: skip
def test_what_cannot_be_read(text: str, words: str) -> None:
    """An error that says why."""
    with pytest.raises(ExpansionError, match=words):
        expand(text, VARIABLES)


@pytest.mark.timeout(60)
def test_a_value_put_in_too_often_is_an_error() -> None:
    """Not a word of gigabytes; neither by nesting nor by replacing."""
    large = {"A": "x" * 10_000}
    for text in (
        "$A" * 100_000,
        '"' + "$A" * 100_000 + '"',
        "${none:-" + "$A" * 100_000 + "}",
        "${A//x/" + "y" * 1000 + "}",
        "${A//*/$A}" * 1000,
    ):
        with pytest.raises(ExpansionError, match="longer than"):
            expand(text, large)


@pytest.mark.timeout(60)
def test_a_pattern_of_many_stars_takes_no_exponential_time() -> None:
    """On a value in which it almost matches."""
    variables = {"A": "a" * 100_000}
    for text in ("${A#" + "*a" * 1000 + "b}", "${A%%" + "a*" * 1000 + "b}", "${A//" + "a*" * 1000 + "b/x}"):
        assert expand(text, variables) == variables["A"]


def test_another_escape_character() -> None:
    """A backslash is then a letter."""
    assert expand(r"`$V c:\$V", VARIABLES, "`") == r"$V c:\value"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a $SPACES c", ["a", "a", "b", "c"]), ('"$SPACES"', [" a  b "]), ("x$SPACES.", ["x", "a", "b", "."]), (r"a\ b", ["a b"]), ("'' b", ["b"]),
     ("${unset:-8 9}", ["8", "9"]), ("8${unset:-0}80", ["8080"])],
)  # fmt: skip
def test_words_are_split_after_expansion(text: str, wanted: list[str]) -> None:
    """A value in quotes stays one word."""
    assert split(text, VARIABLES) == wanted


def test_quotes_in_a_here_document_are_letters() -> None:
    """Variables and escapes count."""
    assert expand_content("it's \"$V\" \\$V ${unset:-'x'}\n", VARIABLES) == "it's \"value\" $V 'x'\n"
