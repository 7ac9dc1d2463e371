"""The cache's keys: what changes a step's result changes its key, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodeagent.images.build import keys
from nodeagent.images.build.instructions import Copy, Run
from nodeagent.images.build.state import State

RUN = Run(line=3, text="RUN make", arguments=("make",), shell=True)
COPY = Copy(line=3, text="COPY a /b", paths=("a",), target="/b")
STATE = State(config={"Env": ["A=1"]}, layers=("sha256:1",), args={"X": "1"})


def with_config(**members: Any) -> State:
    return replace(STATE, config={**STATE.config, **members})


@pytest.mark.parametrize(
    "state",
    [with_config(Env=["A=2"]), with_config(User="x"), with_config(WorkingDir="/x"), replace(STATE, args={"X": "2"}),
     replace(STATE, layers=("sha256:2",)), replace(STATE, layers=())],
    ids=["env", "user", "workdir", "args", "layers", "no layers"],
)  # fmt: skip
def test_what_a_run_sees_is_in_its_key(state: State) -> None:
    """Environment, arguments, user, folder, and all below."""
    assert keys.of_run(RUN, state) != keys.of_run(RUN, STATE)


def test_a_runs_command_is_in_its_key_and_its_place_is_not() -> None:
    """The same line further down is the same step."""
    assert keys.of_run(replace(RUN, arguments=("make all",)), STATE) != keys.of_run(RUN, STATE)
    assert keys.of_run(replace(RUN, shell=False), STATE) != keys.of_run(RUN, STATE)
    assert keys.of_run(replace(RUN, line=9, text="RUN  make"), STATE) == keys.of_run(RUN, STATE)


@pytest.mark.parametrize("member", ["Labels", "Cmd", "Entrypoint", "ExposedPorts", "Volumes"])
def test_what_a_run_does_not_see_is_not(member: str) -> None:
    """So a LABEL with the date costs no rebuild."""
    assert keys.of_run(RUN, with_config(**{member: {"x": {}}})) == keys.of_run(RUN, STATE)


@pytest.mark.parametrize(
    "change", [{"target": "/c"}, {"chown": "1"}, {"chmod": "700"}, {"extract": True}, {"paths": ("a", "b")}]
)
def test_how_a_copy_is_made_is_in_its_key(change: dict[str, Any]) -> None:
    """And what it copies, by content."""
    assert keys.of_copy(replace(COPY, **change), STATE, "c") != keys.of_copy(COPY, STATE, "c")
    assert keys.of_copy(COPY, STATE, "d") != keys.of_copy(COPY, STATE, "c")
    assert keys.of_copy(COPY, replace(STATE, args={}), "c") == keys.of_copy(COPY, STATE, "c")
