"""The cache's keys: what changes a step's result changes its key, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodeagent.building import keys
from nodeagent.building.heredocs import Heredoc
from nodeagent.building.instructions import Copy, Run, Workdir
from nodeagent.building.mounts import RunMount
from nodeagent.building.state import State

RUN = Run(line=3, text="RUN make", arguments=("make",), shell=True)
COPY = Copy(line=3, text="COPY a /b", paths=("a",), target="/b")
STATE = State(config={"Env": ["A=1"]}, layers=("sha256:1",), variables={"X": "1"}).as_base()


def with_config(**members: Any) -> State:
    return replace(STATE, config={**STATE.config, **members}).as_base()


@pytest.mark.parametrize(
    "state",
    [with_config(Env=["A=2"]), with_config(User="x"), with_config(WorkingDir="/x"), replace(STATE, variables={"A": "1", "X": "2"}),
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
    "change",
    [
        {"target": "/c"},
        {"chown": "1"},
        {"chmod": "700"},
        {"add": True},
        {"link": True},
        {"parents": True},
        {"excludes": ("x",)},
        {"unpack": False},
        {"paths": ("a", "b")},
    ],
)
def test_how_a_copy_is_made_is_in_its_key(change: dict[str, Any]) -> None:
    """And what it copies, by content."""
    assert keys.of_copy(replace(COPY, **change), STATE, ["c"]) != keys.of_copy(COPY, STATE, ["c"])
    assert keys.of_copy(COPY, STATE, ["d"]) != keys.of_copy(COPY, STATE, ["c"])
    assert keys.of_copy(COPY, replace(STATE, variables={}), ["c"]) == keys.of_copy(COPY, STATE, ["c"])


def test_a_linked_copy_is_the_same_on_any_base() -> None:
    """Unless the name of its owner is looked up there."""
    other = replace(STATE, layers=("sha256:2",))
    for chown, same in (("", True), ("5:6", True), ("app", False)):
        item = replace(COPY, link=True, chown=chown)
        assert (keys.of_copy(item, STATE, ["c"]) == keys.of_copy(item, other, ["c"])) == same
    assert keys.of_copy(COPY, STATE, ["c"]) != keys.of_copy(COPY, other, ["c"])


@pytest.mark.parametrize(
    "change",
    [
        {"mounts": (RunMount(target="/x"),), "options": ("target=/x",)},
        {"network": "none"},
        {"script": Heredoc("E", content="#!x")},
    ],
)
def test_how_a_run_is_confined_and_what_it_mounts_is_in_its_key(change: dict[str, Any]) -> None:
    """And the content of what it mounts."""
    assert keys.of_run(replace(RUN, **change), STATE) != keys.of_run(RUN, STATE)
    assert keys.of_run(RUN, STATE, ["a"]) != keys.of_run(RUN, STATE)


def test_the_shell_is_in_a_runs_key() -> None:
    """SHELL changes what the same line does."""
    assert keys.of_run(RUN, with_config(Shell=["bash", "-c"])) != keys.of_run(RUN, STATE)


def test_the_user_who_owns_a_workdir_is_in_its_key() -> None:
    """The directory is made with USER as its owner."""
    item = Workdir(line=3, text="WORKDIR /x", path="/x")
    assert keys.of_workdir(item, with_config(User="app")) != keys.of_workdir(item, STATE)
