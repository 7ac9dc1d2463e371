"""Which stages are built, and with which base."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.images.build import grammar, reading, stages
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.instructions import PLATFORM

THREE = """FROM busybox AS base
RUN a
FROM base AS Unused
RUN b
FROM alpine AS tools
RUN c
FROM base
COPY --from=TOOLS /x /x
COPY --from=0 /y /y
COPY --from=nginx /z /z
"""


def plan(text: str, **more: Any) -> stages.Plan:
    return stages.plan(reading.read(grammar.parse(text)), **more)


def numbers(found: stages.Plan) -> list[int]:
    return [stage.number for stage in found.stages]


def test_only_what_the_target_needs_is_built() -> None:
    """Bases and what is copied from, in order; an image's name is no stage."""
    found = plan(THREE)
    assert numbers(found) == [0, 2, 3]
    assert found.stages[-1].base == 0
    assert dict(found.stages[-1].sources) == {"TOOLS": 2, "0": 0}
    assert found.steps == 3 + 1 + 1 + 3


@pytest.mark.parametrize(("target", "wanted"), [("base", [0]), ("UNUSED", [0, 1]), ("2", [2]), ("", [0, 2, 3])])
def test_a_target_by_name_or_number(target: str, wanted: list[int]) -> None:
    """Whatever the case of its letters."""
    assert numbers(plan(THREE, target=target)) == wanted


@pytest.mark.parametrize(
    ("text", "args", "base"),
    [("ARG B=a\nFROM $B", {}, "a"), ("ARG B=a\nFROM ${B}:1", {"B": "b"}, "b:1"), ("ARG A=x\nARG B=$A-y\nFROM $B", {}, "x-y"),
     ("FROM scratch", {}, ""), ("FROM image-$TARGETARCH", {}, f"image-{PLATFORM.partition('/')[2]}"),
     ("FROM --platform=$TARGETPLATFORM a", {}, "a"), ("ARG B\nFROM a$B", {}, "a")],
)  # fmt: skip
def test_bases(text: str, args: dict[str, str], base: str) -> None:
    """ARGs before the first FROM, their defaults and the command line's values."""
    assert plan(text, args=args).stages[0].base == base


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [("RUN a", "only ARG may stand before", 1), ("ARG A=1", "no FROM", 0), ("FROM $NONE", "the name is empty", 1),
     ("FROM --platform=linux/s390x a", "builds for", 1), ("FROM a AS x\nFROM b AS x", "is taken", 2),
     ("FROM a AS x\nCOPY --from=x a b", "from itself", 2), ("FROM a\nCOPY --from=0 a b", "earlier stage", 2),
     ("FROM a\nCOPY --from=7 a b", "earlier stage", 2), ("FROM ${A", "missing", 1)],
)  # fmt: skip
def test_refusals(text: str, words: str, line: int) -> None:
    """Each says the line."""
    with pytest.raises(BuildError, match=words) as caught:
        plan(text)
    assert caught.value.line == line


def test_an_unknown_target_is_an_error() -> None:
    """It is not taken for the last stage."""
    with pytest.raises(BuildError, match="no stage 'nope'"):
        plan(THREE, target="nope")


def test_arguments_that_nothing_takes_are_noted() -> None:
    """But proxies are known without ARG."""
    [note] = plan("FROM a\nARG B", args={"B": "1", "C": "2", "HTTP_PROXY": "x"}).notes
    assert "--build-arg C" in note
