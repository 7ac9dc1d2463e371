"""Whatever a Dockerfile holds, it is a plan or one BuildError; a pattern or word is read or refused."""

from __future__ import annotations

import contextlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.building import configuring, expansion, mounts, resolving, shellpatterns, words
from nodeagent.building.builder import Request, plan
from nodeagent.building.configuring import Arguments
from nodeagent.building.errors import BuildError
from nodeagent.building.expansion import ExpansionError
from nodeagent.building.shellpatterns import PatternError
from nodeagent.building.state import State
from pinnace.pathpatterns import BadPattern, translate

PIECES = st.sampled_from(
    [
        "FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "USER", "CMD", "ENTRYPOINT", "EXPOSE", "LABEL", "VOLUME", "SHELL",
        "HEALTHCHECK", "ONBUILD", "STOPSIGNAL", "MAINTAINER", " ", "\n", "\\\n", "\\ \n", "\\", "`", "# ", "# escape=`\n", "a", "b=c", "=", "$A",
        "${A:-", "${A#", "${A%%", "${A//", "/", "}", "${", "'", '"', "[", "]", '["x"]', "*", "?", "--from=", "--chown=1:2", "--chmod=", "--link",
        "--mount=", "type=cache", "type=secret", ",target=/x", ",id=", "--network=none", "--parents", "--exclude=**/x", "--", "0", "AS", "scratch",
        "<<EOF", "<<-'E'", "\nEOF\n", "\nE\n", "<<", "#!/bin/sh\n", "\r", "\t", "\ufeff", "\0", "é", "80-90/tcp", "..", "\x85", "\u2028", "CMD", "NONE",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS | st.text(max_size=200))
def test_a_dockerfile_is_a_plan_or_an_error(text: str) -> None:
    """With a line that there is; its instructions, too, change a state or are refused."""
    failure = refusal(text)
    assert failure is None or (failure.message and 0 <= failure.line <= text.count("\n") + 1)


def refusal(text: str) -> BuildError | None:
    try:
        found = plan(Request(text, ("x",), {"A": "1"}))
        known = Arguments({"A": "1"}, found.global_args, found.escape)
        for stage in found.stages:
            current = State().as_base()
            for item in stage.instructions:
                current = configuring.configure(resolving.resolve(item, current, found.escape), current, known)
    except BuildError as error:
        return error
    return None


@settings(max_examples=300, deadline=None)
@given(TEXTS | st.text(max_size=100), st.sampled_from(["\\", "`"]))
def test_words_are_read_or_refused(text: str, escape: str) -> None:
    """No other error, and no word that was not there."""
    assert all(word for word in words.split(text, escape))
    try:
        expansion.expand(text, {"A": "value"}, escape)
        expansion.split(text, {"A": "value"})
        expansion.expand_content(text, {"A": "value"})
    except ExpansionError:
        pass


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("abc", max_size=10))
def test_shell_patterns_agree_with_regular_expressions(pattern: str, value: str) -> None:
    """The shortest and longest prefixes and suffixes, and the leftmost longest match."""
    for longest in (False, True):
        expression = "".join({"*": ".*" if longest else ".*?", "?": "."}.get(char, char) for char in pattern)
        match = re.match(expression, value)
        assert shellpatterns.without_prefix(value, pattern, longest=longest) == (value[match.end() :] if match else value)
        backwards = shellpatterns.without_prefix(value[::-1], pattern[::-1], longest=longest)
        assert shellpatterns.without_suffix(value, pattern, longest=longest) == backwards[::-1]
    greedy = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
    assert shellpatterns.replaced(value, pattern, "-", everywhere=False) == re.sub(greedy, "-", value, count=1)


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?\\/}", max_size=12), st.text("ab/", max_size=12))
def test_shell_patterns_are_read_or_refused(pattern: str, value: str) -> None:
    """Only escapes without a meaning are refused."""
    try:
        shellpatterns.replaced(value, pattern, "x", everywhere=True)
    except PatternError:
        assert "\\" in pattern


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "type=",
                "cache",
                "bind",
                "secret",
                "tmpfs",
                "ssh",
                ",",
                "target=",
                "/x",
                "id=",
                "from=",
                "ro",
                "=",
                '"',
                "size=1k",
                "\n",
                "mode=0",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_mount_options_are_read_or_refused(text: str) -> None:
    """Every error is the build's own."""
    with contextlib.suppress(BuildError):
        assert mounts.parse(text, 1).kind in ("bind", "cache", "tmpfs", "secret")


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?[]^-\\/.", max_size=12), st.text("ab/.-]", max_size=8), st.booleans())
def test_patterns_are_compiled_or_refused(pattern: str, path: str, doublestar: bool) -> None:
    """Never an expression that `re` refuses."""
    try:
        translate(pattern, doublestar=doublestar).fullmatch(path)
    except BadPattern:
        pass
