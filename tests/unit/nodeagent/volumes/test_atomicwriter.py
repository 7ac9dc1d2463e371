"""Files that change all at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodeagent.volumes.atomicwriter import write
from nodeagent.volumes.content import File


def shown(folder: Path) -> dict[str, str]:
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name[:2] != "..")
    visible = {str(name) for name in names if not str(name).startswith("..")}
    deep = {
        f"{top.name}/{path.relative_to(top)}"
        for top in folder.iterdir()
        if top.is_dir() and top.name[:2] != ".."
        for path in top.rglob("*")
        if path.is_file()
    }
    return {name: (folder / name).read_text() for name in visible | deep}


def test_a_set_of_files_replaces_the_one_before(tmp_path: Path) -> None:
    """What is gone is gone, what is new is there, and nothing of the old set is left."""
    write(tmp_path, {"a": File(b"1", 0o644), "deep/b": File(b"2", 0o600)})
    assert shown(tmp_path) == {"a": "1", "deep/b": "2"}
    write(tmp_path, {"deep/c": File(b"3", 0o644), "d": File(b"4", 0o644)})
    assert shown(tmp_path) == {"deep/c": "3", "d": "4"}
    assert len([name for name in os.listdir(tmp_path) if name.startswith("..")]) == 2


def test_the_same_files_again_write_nothing(tmp_path: Path) -> None:
    """So that watchers in the container are not woken."""
    files = {"a": File(b"1", 0o644)}
    assert write(tmp_path, files) is True
    before = os.readlink(tmp_path / "..data")
    assert write(tmp_path, files) is False
    assert write(tmp_path, {"a": File(b"1", 0o600)}) is True
    assert os.readlink(tmp_path / "..data") != before


def test_an_open_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    """A folder that was opened shows one set, whatever comes."""
    write(tmp_path, {"a": File(b"old", 0o644), "b": File(b"old", 0o644)})
    data = os.open(tmp_path / "..data", os.O_RDONLY | os.O_DIRECTORY)
    first = os.open("a", os.O_RDONLY, dir_fd=data)
    write(tmp_path, {"a": File(b"new", 0o644), "b": File(b"new", 0o644)})
    assert os.read(first, 9) == b"old"
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"
    os.close(first)
    os.close(data)


@pytest.mark.root
def test_a_group_owns_the_files_and_may_read_them(tmp_path: Path) -> None:
    """Also those of mode 0400; folders are the group's too."""
    files = {"deep/a": File(b"1", 0o400)}
    write(tmp_path, files, 4000)
    status = (tmp_path / "deep/a").stat()
    assert (status.st_gid, status.st_mode & 0o7777) == (4000, 0o440)
    folder = (tmp_path / "deep").stat()
    assert (folder.st_gid, folder.st_mode & 0o7777) == (4000, 0o2755)
    assert write(tmp_path, files, 4000) is False
