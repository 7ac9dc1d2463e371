"""Ranges of user ids: one a pod, found again, never shared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nodeagent.runtime.idranges import SIZE, allocate, lowest_free
from nodeagent.runtime.interface import StartError


def pods(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir()
    return folder


def test_pods_do_not_share_a_range(tmp_path: Path) -> None:
    """Each pod gets the lowest one that is free, aligned and of 65536 ids."""
    names = [f"pod{number}" for number in range(40)]
    found = [allocate(pods(tmp_path, name), name) for name in names]
    assert [item.first for item in found] == [SIZE * number for number in range(1, 41)]
    assert {item.size for item in found} == {65536}


def test_a_range_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """What is on disk counts, whatever is freed meanwhile; a pod's end frees its range."""
    first, second = (allocate(pods(tmp_path, name), name) for name in ("a", "b"))
    shutil.rmtree(tmp_path / "a")
    assert allocate(tmp_path, "b") == second
    assert allocate(pods(tmp_path, "c"), "c") == first


@pytest.mark.parametrize("text", ["", "x", "7", "0", str(1 << 31), "65537"])
def test_a_broken_record_is_made_again(tmp_path: Path, text: str) -> None:
    """What is no range is nobody's."""
    (pods(tmp_path, "a") / "a/ids").write_text(text)
    assert allocate(tmp_path, "a").first == SIZE
    assert (tmp_path / "a/ids").read_text() == str(SIZE)


def test_ranges_end_somewhere() -> None:
    """Below 2^31, as in Kubernetes; then it says so."""
    every = set(range(SIZE, 1 << 31, SIZE))
    assert lowest_free(every - {SIZE * 9}) == SIZE * 9
    with pytest.raises(StartError):
        lowest_free(every)
