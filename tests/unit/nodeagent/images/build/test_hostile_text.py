"""Whatever a Dockerfile holds, it is a plan or one BuildError; a pattern or word is read or refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.images.build import state
from nodeagent.images.build.builder import Request, plan
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.state import State
from nodeagent.images.build.words import WordError, expand, split
from pinnace.pathpatterns import BadPattern, translate

PIECES = st.sampled_from(
    [
        "FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "USER", "CMD", "ENTRYPOINT", "EXPOSE", "LABEL", "VOLUME", "SHELL",
        " ", "\n", "\\\n", "\\", "`", "# ", "# escape=`\n", "a", "b=c", "=", "$A", "${A:-", "}", "${", "'", '"', "[", "]", '["x"]',
        "--from=", "--chown=1:2", "0", "AS", "scratch", "<<EOF", "\r", "\t", "\ufeff", "\0", "é", "80/tcp", "/", "..", "\x85", "\u2028",
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
        for stage in found.stages:
            current = State()
            for item in stage.instructions:
                current = state.configure(state.resolve(item, current, found.escape), current, {"A": "1"}, {}, found.escape)
    except BuildError as error:
        return error
    return None


@settings(max_examples=300, deadline=None)
@given(TEXTS | st.text(max_size=100), st.sampled_from(["\\", "`"]))
def test_words_are_read_or_refused(text: str, escape: str) -> None:
    """And splitting loses nothing but blanks."""
    try:
        parts = split(text, escape)
        assert "".join("".join(parts).split()) == "".join(text.split())
        expand(text, {"A": "value"}, escape)
    except WordError:
        pass


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?[]^-\\/.", max_size=12), st.text("ab/.-]", max_size=8), st.booleans())
def test_patterns_are_compiled_or_refused(pattern: str, path: str, doublestar: bool) -> None:
    """Never an expression that `re` refuses."""
    try:
        translate(pattern, doublestar=doublestar).fullmatch(path)
    except BadPattern:
        pass
