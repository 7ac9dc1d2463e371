"""Which stages are built, and with which base."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.building import arguments, grammar, reading, stages
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import PLATFORM

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


def test_only_what_the_target_needs_is_built() -> None:
    """Bases and what is copied from, in order; an image's name is no stage."""
    found = plan(THREE)
    assert found.needed == (0, 2, 3)
    assert found.stages[3].base == 0
    assert [found.source(text, 3, 1) for text in ("TOOLS", "0", "nginx")] == [2, 0, None]
    assert found.steps == 3 + 1 + 1 + 3


def test_a_stage_is_needed_that_a_mount_is_from() -> None:
    """RUN --mount=from= is COPY --from."""
    text = "FROM a AS x\nFROM b AS y\nFROM c\nRUN --mount=from=X,target=/x --mount=from=image,target=/y true"
    assert plan(text).needed == (0, 2)


@pytest.mark.parametrize(("target", "wanted"), [("base", (0,)), ("UNUSED", (0, 1)), ("2", (2,)), ("", (0, 2, 3))])
def test_a_target_by_name_or_number(target: str, wanted: tuple[int, ...]) -> None:
    """Whatever the case of its letters."""
    assert plan(THREE, target=target).needed == wanted


ARCHITECTURE = PLATFORM.partition("/")[2]


@pytest.mark.parametrize(
    ("text", "args", "base"),
    [("ARG B=a\nFROM $B", {}, "a"), ("ARG B=a\nFROM ${B}:1", {"B": "b"}, "b:1"), ("ARG A=x\nARG B=$A-y\nFROM $B", {}, "x-y"),
     ("FROM scratch", {}, ""), ("FROM image-$TARGETARCH", {}, f"image-{ARCHITECTURE}"), ("FROM image-$TARGETARCH", {"TARGETARCH": "x"}, "image-x"),
     ("FROM --platform=$TARGETPLATFORM a", {}, "a"), ("ARG B\nFROM a$B", {}, "a"), ("ARG image=idlebox\nFROM busy${image#idle}", {}, "busybox"),
     ('ARG A="x y" B=z\nARG C="$B-w"\nFROM $C', {}, "z-w"), ("ARG V=1\nFROM a:${V:+v$V}", {}, "a:v1"), ("FROM a-$TARGETSTAGE AS Last", {}, "a-last"),
     (f"FROM --platform={ARCHITECTURE} a", {}, "a"), ("FROM --platform=linux a", {}, "a")],
)  # fmt: skip
def test_bases(text: str, args: dict[str, str], base: str) -> None:
    """ARGs before the first FROM, their defaults and the command line's values, platform arguments."""
    assert plan(text, args=args).stages[0].base == base


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [("RUN a", "only ARG may stand before", 1), ("ARG A=1", "no FROM", 0), ("FROM $NONE", "should not be blank", 1),
     ("FROM --platform=linux/s390x a", "builds for", 1), ("FROM --platform=$NONE a", "empty platform", 1), ("FROM --platform=a/b/c/d a", "builds for", 1),
     ("FROM a AS x\nCOPY --from=x a b", "from itself", 2), ("FROM a\nCOPY --from=0 a b", "from itself", 2),
     ("FROM a\nCOPY --from=7 a b", "invalid stage index 7", 2), ("FROM a\nCOPY --from=late a b\nFROM b AS late\nFROM 0\nCOPY --from=0 x y", "needs to be defined before", 2),
     ("FROM ${A", "missing", 1), ("ARG A=${B:?no-B}\nFROM $A", "no-B", 1), ("FROM a\n" * 257, "more than 256 stages", 257)],
)  # fmt: skip
def test_refusals(text: str, words: str, line: int) -> None:
    """Each says the line."""
    with pytest.raises(BuildError, match=words) as caught:
        plan(text)
    assert caught.value.line == line


def test_an_unknown_target_is_an_error() -> None:
    """It is not taken for the last stage."""
    with pytest.raises(BuildError, match=r"target stage 'nope' could not be found \(there are: base, tools, unused"):
        plan(THREE, target="nope")


def test_a_stage_name_that_is_used_again_is_the_later_stages() -> None:
    """With a note, as in BuildKit."""
    found = plan("FROM a AS x\nFROM b AS x\nFROM x\nCOPY --from=x /f /f")
    assert found.stages[2].base == 1
    assert found.needed == (1, 2)
    assert "'x' is used again" in found.notes[0]


def test_arguments_that_nothing_takes_are_noted() -> None:
    """But proxies and the platform's are known without ARG."""
    [note] = plan("FROM a\nARG B", args={"B": "1", "C": "2", "HTTP_PROXY": "x", "TARGETARCH": "y"}).notes
    assert "--build-arg C" in note


def test_proxies_reach_a_run_in_both_forms() -> None:
    """As in BuildKit, whichever was given; of two the one of the very name counts."""
    given = {"http_proxy": "a", "NO_PROXY": "b", "https_proxy": "c", "HTTPS_PROXY": "d", "OTHER": "e"}
    assert arguments.proxies(given) == {
        "http_proxy": "a", "HTTP_PROXY": "a", "NO_PROXY": "b", "no_proxy": "b", "https_proxy": "c", "HTTPS_PROXY": "d",
    }  # fmt: skip
