"""Trees that come from a container, which is not trusted."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cli import trees
from cli.commands.cp import Place, parse
from pinnace.errors import BadRequest


def stream(*members: tuple[str, Any]) -> io.BytesIO:
    """A tar of names with content (bytes), link targets (str), folders (None), or a TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, value in members:
            info = value if isinstance(value, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(value, bytes):
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
                continue
            if value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(value, str):
                info.type, info.linkname = tarfile.SYMTYPE, value
            tar.addfile(info)
    out.seek(0)
    return out


def special(name: str, kind: bytes, target: str = "") -> tuple[str, tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A destination, with a file beside it that must stay as it is."""
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "dst").mkdir()
    return tmp_path / "dst"


@pytest.mark.parametrize(
    "members",
    [
        [("../secret", b"x")],
        [("top/../../secret", b"x")],
        [("/tmp/secret", b"x")],
        [("..", None)],
        [("top", "../.."), ("top/secret", b"x")],
        [("top", None), ("top/up", "../.."), ("top/up/secret", b"x")],
        [("top", None), ("top/a", "b"), ("top/b", ".."), ("top/a/secret", b"x")],
        [special("top", tarfile.LNKTYPE, "../secret"), ("top", b"x")],
        [special("top", tarfile.CHRTYPE)],
        [("top", None), ("top/abs", "/etc"), ("top/abs/passwd", b"x")],
    ],
    ids=["..", "inner ..", "absolute", "only ..", "link to the parent", "inner link", "link by link", "hard link", "device",
         "absolute link"],
)  # fmt: skip
def test_nothing_is_written_outside_the_destination(place: Path, members: list[tuple[str, Any]]) -> None:
    """Refused or left out; what lies beside is untouched, and no link leads there."""
    warned: list[str] = []
    before = set(Path("/etc").iterdir())
    try:
        trees.unpack(stream(*members), place, warn=warned.append)
    except BadRequest:
        pass
    assert (place.parent / "secret").read_text() == "mine"
    assert {path.name for path in place.parent.iterdir()} == {"secret", "dst"}
    assert set(Path("/etc").iterdir()) == before
    for path in place.rglob("*"):
        assert path.resolve().is_relative_to(place.resolve()), path


def test_links_inside_the_tree_are_kept_and_others_said(place: Path) -> None:
    """What leads out of the tree is left out with a word."""
    warned: list[str] = []
    tree = stream(("top", None), ("top/d", None), ("top/d/in", "../f"), ("top/d/out", "../../f"), ("top/f", b"x"))
    trees.unpack(tree, place, warn=warned.append)
    assert os.readlink(place / "top/d/in") == "../f"
    assert not (place / "top/d/out").is_symlink()
    assert len(warned) == 1
    assert "top/d/out" in warned[0]


def test_what_is_there_is_replaced_and_links_of_ours_are_not_followed(place: Path) -> None:
    """A file keeps its place; a link becomes the file."""
    (place / "top").mkdir()
    (place / "top/a").write_text("a long old text")
    (place / "top/b").symlink_to("../../secret")
    trees.unpack(stream(("top", None), ("top/a", b"new"), ("top/b", b"new")), place, warn=print)
    assert ((place / "top/a").read_text(), (place / "top/b").read_text()) == ("new", "new")
    assert (place.parent / "secret").read_text() == "mine"


def test_a_file_takes_the_name_that_was_asked_for(place: Path) -> None:
    """Where there is no folder of that name."""
    trees.unpack(stream(("hosts", b"x")), place / "renamed", warn=print)
    assert (place / "renamed").read_text() == "x"
    with pytest.raises(BadRequest, match="no such directory"):
        trees.unpack(stream(("hosts", b"x")), place / "none/renamed", warn=print)


def test_a_cut_stream_is_an_error(place: Path) -> None:
    """Not a short file."""
    data = stream(("top", b"x" * 5000)).getvalue()[:2000]
    with pytest.raises(BadRequest, match="not a usable tar"):
        trees.unpack(io.BytesIO(data), place, warn=print)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("web:/a", Place("/a", "web")),
        ("ns/web:a/b", Place("a/b", "web", "ns")),
        ("./a:b", Place("./a:b")),
        ("/a:b", Place("/a:b")),
        ("a", Place("a")),
        ("-", Place("-")),
        ("web:/a:b", Place("/a:b", "web")),
    ],
)
def test_places_are_told_apart(word: str, expected: Place) -> None:
    """A colon makes it a pod's, unless a folder stands before it."""
    assert parse(word) == expected


@pytest.mark.parametrize("word", [":/a", "web:", "a/b/c:/x", "ns/:/a"])
def test_places_that_are_none(word: str) -> None:
    """Said to be so."""
    with pytest.raises(BadRequest):
        parse(word)
