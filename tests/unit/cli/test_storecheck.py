"""What `kctl doctor` says of a store."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cli import storecheck
from pinnace.api.v1 import cluster_pb2


def answer(*objects: tuple[str, str], **more: Any) -> Any:
    made = [cluster_pb2.DamagedObject(key=key, state=state) for key, state in objects]
    return cluster_pb2.CheckStoreResponse(objects=made, **more)


def test_a_sound_store_is_ok() -> None:
    """Without a fix."""
    found = storecheck.finding(answer(file="/s"))
    assert (found.level, found.fix) == ("ok", "")


def test_damaged_objects_are_listed_with_the_way_out() -> None:
    """The keys and their states; the quarantine's file where there is one."""
    found = storecheck.finding(answer(("/registry/pods/a/b", "Quarantined"), ("/registry/x", "Unreadable"), file="/s/store.db"))
    assert found.level == "fail"
    expected = "2 stored objects are damaged and not served: /registry/pods/a/b (quarantined), /registry/x (unreadable)"
    assert found.text == expected
    assert "kctl apply" in found.fix
    assert "sqlite3 /s/store.db 'DELETE FROM quarantine'" in found.fix
    assert "sqlite3" not in storecheck.finding(answer(("/registry/x", "Unreadable"))).fix


def test_of_many_the_first_are_listed() -> None:
    """And the number of all of which the server told."""
    found = storecheck.finding(answer(*((f"/k{number}", "Unreadable") for number in range(30)), truncated=True))
    assert found.text.startswith("more than 30 stored objects are damaged")
    assert found.text.endswith("/k9 (unreadable), and 20 more")


def test_keys_cannot_control_the_terminal() -> None:
    """They are whatever the damage made of them."""
    assert "\x1b" not in storecheck.finding(answer(("/\x1b[2J", "Quarantined"))).text


@pytest.mark.parametrize(("text", "level"), [("", "ok"), ("contexts: 1", "warn")])
def test_without_an_answer_it_says_why(tmp_path: Any, text: str, level: str) -> None:
    """No cluster at all is fine: a machine is checked before it has one."""
    (tmp_path / "config").write_text(text)
    found = storecheck.check(SimpleNamespace(config=str(tmp_path / "config"), context="", namespace=""))
    assert (found.level, found.text.startswith("not checked: ")) == (level, True)
