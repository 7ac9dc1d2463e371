"""fsGroup, on trees that a container may have made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodeagent.volumes import ownership

pytestmark = pytest.mark.root


def look(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_gid, status.st_mode & 0o7777


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder/file").write_text("x")
    (root / "folder/file").chmod(0o600)
    root.chmod(0o777)
    return root


def test_the_group_gets_everything(tree: Path) -> None:
    """Files may be read and written by it, and what is made in folders is the group's too."""
    ownership.give(tree, 4000)
    assert look(tree) == (4000, 0o2777)
    assert look(tree / "folder") == (4000, 0o2775)
    assert look(tree / "folder/file") == (4000, 0o660)


def test_symlinks_are_not_followed(tree: Path, tmp_path: Path) -> None:
    """What they point to stays as it is, be it a file or a folder."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "secret").write_text("x")
    (outside / "secret").chmod(0o600)
    (tree / "file").symlink_to(outside / "secret")
    (tree / "dir").symlink_to(outside)
    ownership.give(tree, 4000)
    assert look(outside) == (0, 0o700)
    assert look(outside / "secret") == (0, 0o600)
    assert look(tree / "file")[0] == 4000


def test_a_root_that_is_a_symlink_is_refused(tree: Path, tmp_path: Path) -> None:
    """Nothing behind it changes."""
    (tmp_path / "link").symlink_to(tree)
    with pytest.raises(OSError):
        ownership.give(tmp_path / "link", 4000)
    assert look(tree)[0] == 0


def test_on_root_mismatch_trusts_a_root_that_is_as_wanted(tree: Path) -> None:
    """Whatever lies below; any other root has all of it changed."""
    ownership.give(tree, 4000, on_root_mismatch=True)
    (tree / "later").touch(mode=0o600)
    os.chown(tree / "later", 0, 0)
    ownership.give(tree, 4000, on_root_mismatch=True)
    assert look(tree / "later") == (0, 0o600)
    ownership.give(tree, 4000)
    assert look(tree / "later") == (4000, 0o660)


def test_pipes_do_not_hold_it_up(tree: Path) -> None:
    """Nothing is opened that could wait for another end."""
    os.mkfifo(tree / "pipe")
    ownership.give(tree, 4000)
    assert look(tree / "pipe")[0] == 4000


def test_a_tree_too_deep_is_refused(tmp_path: Path) -> None:
    """Before descriptors run out."""
    path = tmp_path
    for _ in range(ownership.MAX_DEPTH + 1):
        path = path / "d"
        path.mkdir()
    with pytest.raises(OSError, match="too deeply"):
        ownership.give(tmp_path, 4000)
