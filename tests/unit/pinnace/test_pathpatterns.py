"""Go's filepath.Match, as Dockerfiles and .dockerignore files mean it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinnace import pathpatterns
from pinnace.pathpatterns import BadPattern, has_magic, translate

MATCHES = [
    ("abc", "abc", True), ("*", "abc", True), ("*c", "abc", True), ("a*", "a", True), ("a*", "ab/c", False), ("a*/b", "abc/b", True),
    ("a*/b", "a/c/b", False), ("a?c", "abc", True), ("a?c", "a/c", False), ("ab[c]", "abc", True), ("ab[b-d]", "abc", True),
    ("ab[e-g]", "abc", False), ("ab[^c]", "abc", False), ("ab[^e-g]", "abc", True), (r"a\*b", "a*b", True), (r"a\*b", "ab", False),
    ("a[^a]b", "a/b", False), ("[-x]", "-", True), (r"[\]a]", "]", True), (r"[x\-]", "-", True), ("a.c", "abc", False), ("**", "a/b", False),
    ("é?", "éx", True), ("[0-9]*.log", "7.log", True), ("a|b", "a", False), ("(a)", "a", False), ("[^\\n]", "x", True), ("a\nb", "a\nb", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "path", "wanted"), MATCHES)
def test_matches(pattern: str, path: str, wanted: bool) -> None:
    """The whole of the path, each star within its component."""
    assert (translate(pattern).fullmatch(path) is not None) == wanted


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [("**/x", "x", True), ("**/x", "a/b/x", True), ("**/x", "ax", False), ("a/**/b", "a/b", True), ("a/**/b", "a/c/d/b", True), ("a/**", "a/b/c", True),
     ("a/**", "a", False), ("**", "a/b", True), ("**.go", "a/b.go", True), ("***", "a/b", True)],
)  # fmt: skip
def test_two_stars_where_they_mean_folders(pattern: str, path: str, wanted: bool) -> None:
    """Any number of them, none as well."""
    assert (translate(pattern, doublestar=True).fullmatch(path) is not None) == wanted


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[^]", "a\\", "[b-a]", "[a-", "[\\"])
def test_bad_patterns(pattern: str) -> None:
    """An error, whatever they are matched with."""
    with pytest.raises(BadPattern):
        translate(pattern)


def test_only_patterns_have_magic() -> None:
    """A plain name is looked up, not searched for."""
    assert not has_magic("a/b.c-d")
    assert all(map(has_magic, ("a*", "?", "[a]", "a\\b")))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("pattern", "path"), [("a*" * 40 + "b", "a" * 200), ("**/a*" * 20 + "/b", "a/" * 400), ("*?" * 60, "/" * 300)]
)
def test_a_pattern_of_many_stars_takes_no_exponential_time(pattern: str, path: str) -> None:
    """Backtracking would run for years; the pattern may come from a hostile Dockerfile."""
    assert translate(pattern, doublestar=True).fullmatch(path) is None


@settings(max_examples=500, deadline=None)
@given(st.text("ab*?/.", max_size=10), st.text("ab/.", max_size=10))
def test_the_automaton_agrees_with_backtracking(pattern: str, path: str) -> None:
    """Both ways to match a pattern are one function of pattern and path."""
    tokens = pathpatterns._tokens(pattern, True)
    automaton = pathpatterns._Automaton(tuple(token if token in pathpatterns._LOOPS else re.compile(token) for token in tokens))
    assert (automaton.fullmatch(path) is None) == (re.fullmatch("".join(tokens), path) is None)
