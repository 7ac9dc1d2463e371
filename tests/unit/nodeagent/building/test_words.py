"""Words of ENV, LABEL and ARG, with their quotes and escapes."""

from __future__ import annotations

import pytest

from nodeagent.building.words import split

CASES = [
    ("a b  c", ["a", "b", "c"]), ('a="b c" d', ['a="b c"', "d"]), (r"a\ b c", [r"a\ b", "c"]), ("'a b'", ["'a b'"]), ("", []),
    (r"'a\' b", [r"'a\'", "b"]), ("a\tb\vc", ["a", "b", "c"]), (r'name="a\"b" c', [r'name="a\"b"', "c"]), (r"name='a\'b''", [r"name='a\'b''"]),
    ('a="open b', ['a="open b']), ("a\\", ["a"]), ("a=''", ["a=''"]), ('"" b', ['""', "b"]), ("a=b\\\\ c", ["a=b\\\\", "c"]), ("\xa0a\u2003b", ["a", "b"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_split(text: str, wanted: list[str]) -> None:
    """At white space outside of quotes; the quotes stay."""
    assert split(text) == wanted


def test_another_escape_character() -> None:
    """A backslash is then a letter."""
    assert split(r"a`  b c:\ d", "`") == ["a` ", "b", "c:\\", "d"]
