"""Dataclasses as JSON: what `dataclasses.asdict` would give."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from nodeagent.runtime import jsonfields
from nodeagent.runtime.interface import ContainerConfig, IdRange, Mount, Terminal

CONFIG = ContainerConfig(
    ("a",), ("B=c",), "/", ("/l1", "/l2"), "/sandbox", "/log", mounts=(Mount("/s", "/t"),), ids=IdRange(1 << 16, 1 << 16),
    terminal=Terminal(stdin=True),
)  # fmt: skip


def test_nested_dataclasses_are_objects() -> None:
    assert json.loads(jsonfields.dumps(CONFIG)) == json.loads(json.dumps(asdict(CONFIG)))


def test_a_shallow_form_shares_its_values() -> None:
    assert jsonfields.shallow(CONFIG)["mounts"] is CONFIG.mounts
    assert (
        jsonfields.dumps({"op": "x", **jsonfields.shallow(CONFIG.mounts[0])})
        == json.dumps({"op": "x", **asdict(CONFIG.mounts[0])}).encode()
    )


def test_what_json_has_no_form_of_is_refused() -> None:
    with pytest.raises(TypeError):
        jsonfields.dumps({"path": Path("/")})
