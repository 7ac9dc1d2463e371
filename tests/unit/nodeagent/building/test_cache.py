"""The cache's records: kept over restarts, bounded, the least recently used forgotten first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodeagent.building import cache
from nodeagent.building.cache import BuildCache, Record


def test_records_outlive_the_agent(tmp_path: Path) -> None:
    """Whole or not at all: what was half written is gone."""
    first = BuildCache(tmp_path)
    first.keep("a", Record("sha256:1", "now"))
    first.keep("b", Record("", "now"))
    (tmp_path / ".c.json.1").write_text('{"lay')
    again = BuildCache(tmp_path)
    assert again.find("a") == Record("sha256:1", "now")
    assert again.find("c") is None
    assert again.layers() == {"sha256:1"}
    assert not list(tmp_path.glob(".*"))


def test_the_least_recently_used_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the order that an earlier agent left."""
    monkeypatch.setattr(cache, "MAX_RECORDS", 3)
    first = BuildCache(tmp_path)
    for number, key in enumerate("abc"):
        first.keep(key, Record(key, "now"))
        os.utime(tmp_path / f"{key}.json", (number, number))
    first.find("a")
    again = BuildCache(tmp_path)
    again.keep("d", Record("d", "now"))
    assert again.layers() == {"a", "c", "d"}
    assert {path.stem for path in tmp_path.glob("*.json")} == {"a", "c", "d"}


def test_clearing_forgets_everything(tmp_path: Path) -> None:
    """So that pruning images frees what only the cache has."""
    found = BuildCache(tmp_path)
    found.keep("a", Record("a", "now"))
    found.clear()
    assert not found.layers()
    assert not BuildCache(tmp_path).layers()
