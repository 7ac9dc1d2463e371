"""Members whose paths, links and whiteouts try to leave a layer: each ends inside of it, or is refused by name.

The cases are those of containerd's pkg/archive (TestBreakouts), of moby's go-archive, and of attacks on this project.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodeagent.images.unpack import unpack
from pinnace.oci import BadImage
from tests.support.archives import layer, member

pytestmark = pytest.mark.root
DIR, SYM, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
ETC = member("etc", DIR)
PASSWD = ("/etc/passwd", "inside")
Members = list[tarfile.TarInfo | tuple[str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The layer's directory, with others next to it, below and above that must stay as they are."""
    for name in ("store/neighbour", "store/layer"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / "store/neighbour/file").write_text("outside")
    (tmp_path / "outside").write_text("outside")
    return tmp_path / "store/layer"


def snapshot(folder: Path) -> dict[str, Any]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_text() if path.is_file() else "")
        for path in folder.parent.parent.rglob("*")
        if folder not in path.parents and path not in (folder, folder.parent)
    }


@pytest.fixture(autouse=True)
def _nothing_outside_changes(root: Path) -> Any:
    before = snapshot(root)
    yield
    assert snapshot(root) == before


def applied(root: Path, *members: tarfile.TarInfo | tuple[str, str]) -> None:
    unpack(io.BytesIO(layer(*members)), str(root), "layer")


def text(name: str, content: str) -> Callable[[Path], bool]:
    return lambda root: not (root / name).is_symlink() and (root / name).read_text() == content


def same(one: str, other: str) -> Callable[[Path], bool]:
    return lambda root: (root / one).lstat().st_ino == (root / other).lstat().st_ino


UNBROKEN = text("etc/unbroken", "here")
INSIDE: dict[str, tuple[Members, Callable[[Path], bool]]] = {
    "absolute link": ([ETC, member("localetc", SYM, "/etc"), ("/localetc/unbroken", "here")], UNBROKEN),
    "link up and out": (
        [ETC, member("dummy", DIR), member("localetc", SYM, "/dummy/../etc"), ("/localetc/unbroken", "here")], UNBROKEN,
    ),
    "several absolute links": (
        [ETC, member("dummy", DIR), member("/dummy/etc", SYM, "/etc"), member("localetc", SYM, "/dummy/etc"),
         ("/dummy/etc/unbroken", "here")], UNBROKEN,
    ),
    "several relative links": (
        [ETC, member("dummy", DIR), member("/dummy/etc", SYM, "/etc"), member("localetc", SYM, "./dummy/etc"),
         ("/localetc/unbroken", "here")], UNBROKEN,
    ),
    "a link to above the root": ([member("out", SYM, "../../.."), ("out/evil", "x")], text("evil", "x")),
    "a link to the root": ([member("out", SYM, "/"), ("out/evil", "x")], text("evil", "x")),
    "a link to nothing": ([member("out", SYM, "/none/at/all"), ("out/x", "x")], text("none/at/all/x", "x")),
    "a file emptied through a link": (
        [ETC, ("etc/emptied", "notempty"), member("localetc", SYM, "/etc"), ("/localetc/emptied", "")], text("etc/emptied", ""),
    ),
    "hard link through a relative link": (
        [ETC, PASSWD, member("breakouts", DIR), member("breakouts/d1", SYM, "../../etc"),
         member("breakouts/mypasswd", LINK, "/breakouts/d1/passwd")], same("breakouts/mypasswd", "etc/passwd"),
    ),
    "hard link down and out": (
        [ETC, PASSWD, member("breakouts", DIR), member("downandout", DIR),
         member("breakouts/d1", SYM, "../downandout/../../etc"), member("breakouts/mypasswd", LINK, "/breakouts/d1/passwd")],
        same("breakouts/mypasswd", "etc/passwd"),
    ),
    "hard link through an absolute link": (
        [ETC, PASSWD, member("localetc", SYM, "/etc"), member("localpasswd", LINK, "/localetc/passwd")],
        same("localpasswd", "etc/passwd"),
    ),
    "hard link through a long relative link": (
        [ETC, PASSWD, member("localetc", SYM, "../../../../../../../etc"), member("localpasswd", LINK, "/localetc/passwd")],
        same("localpasswd", "etc/passwd"),
    ),
    "hard link up and out": (
        [ETC, PASSWD, member("localetc", SYM, "upandout/../../../etc"), member("localpasswd", LINK, "/localetc/passwd")],
        same("localpasswd", "etc/passwd"),
    ),
    "hard link to above the root": (
        [ETC, PASSWD, member("localpasswd", LINK, "../../../../../etc/passwd")], same("localpasswd", "etc/passwd"),
    ),
    "hard link by an absolute path": (
        [ETC, PASSWD, member("localpasswd", LINK, "/etc/passwd")], same("localpasswd", "etc/passwd"),
    ),
    "a link without a name": (
        [ETC, PASSWD, member("", SYM, "/etc/"), member("localpasswd", LINK, "/etc/passwd")], same("localpasswd", "etc/passwd"),
    ),
    "a link whose name goes up again": (
        [ETC, PASSWD, member("localetc/sub/..", SYM, "/etc/"), member("/localetc/localpasswd", LINK, "/etc/passwd")],
        same("etc/localpasswd", "etc/passwd"),
    ),
    "a directory in place of a link": (
        [ETC, PASSWD, member("localetc", SYM, "/etc"), member("/localetc/", DIR),
         ("/localetc/localpasswd", "different")], text("localetc/localpasswd", "different"),
    ),
    "a link in place of a directory, and back": (
        [member("foo", DIR), member("foo/tmp", DIR), ("foo/tmp/b", "1"), member("foo", SYM, "/"), ("foo/tmp/b", "2"),
         member("foo", DIR), member("foo/tmp", DIR), ("foo/tmp/b", "3")],
        lambda root: text("foo/tmp/b", "3")(root) and text("tmp/b", "2")(root),
    ),
    "hard link to a link": (
        [ETC, PASSWD, member("passwdlink", SYM, "/etc/passwd"), member("localpasswd", LINK, "/passwdlink")],
        lambda root: os.readlink(root / "localpasswd") == "/etc/passwd",
    ),
    "hard link to a link, its target later": (
        [ETC, member("localpasswd", SYM, "/etc/passwd"), member("dup", LINK, "localpasswd"), PASSWD],
        lambda root: os.readlink(root / "dup") == "/etc/passwd" and text("etc/passwd", "inside")(root),
    ),
    "hard link to a link to a file of the host": (
        [member("out", SYM, "/etc/hostname"), member("sketchy", LINK, "out")], lambda root: (root / "sketchy").is_symlink(),
    ),
    "a whiteout of a link": (
        [ETC, PASSWD, member("l", SYM, "/etc"), (".wh.l", "")],
        lambda root: whiteout(root / "l") and text("etc/passwd", "inside")(root),
    ),
    "a directory named like a whiteout": (
        [ETC, PASSWD, (".wh.etc/somefile", "here")], lambda root: text(".wh.etc/somefile", "here")(root) and text("etc/passwd", "inside")(root),
    ),
    "a whiteout below a link to nothing": (
        [ETC, PASSWD, member("l", SYM, "/dne"), ("l/.wh.etc", "")],
        lambda root: whiteout(root / "dne/etc") and text("etc/passwd", "inside")(root),
    ),
    "a whiteout by a path that goes up again": ([("dne/../.wh.etc", "")], lambda root: whiteout(root / "etc")),
    "names with dots and slashes": (
        [("./a//b/./c", "c"), ("///d", "d"), ("./x/../y", "y")],
        lambda root: text("a/b/c", "c")(root) and text("d", "d")(root) and text("y", "y")(root) and not (root / "x").exists(),
    ),
    "AUFS keeps hard links apart": (
        [member(".wh..wh.plnk", DIR), (".wh..wh.plnk/1.2", "linked"), (".wh..wh.aufs", ""), member("a", LINK, ".wh..wh.plnk/1.2")],
        lambda root: text("a", "linked")(root) and os.listdir(root) == ["a"],
    ),
}  # fmt: skip


def opaque(path: Path) -> bool:
    return os.getxattr(path, "trusted.overlay.opaque") == b"y"


def whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


@pytest.mark.parametrize("name", INSIDE)
def test_a_path_ends_inside_of_the_layer(root: Path, name: str) -> None:
    """As in containerd: links of the layer lead to the layer."""
    members, check = INSIDE[name]
    applied(root, *members)
    assert check(root)


REFUSED: dict[str, Members] = {
    **{f"whiteout {name!r} {where}": [member("etc", DIR), (f"{where}{name}", "")]
       for name in (".wh.", ".wh..", ".wh...") for where in ("", "etc/", "./", "/")},
    "whiteout of the parent below a link": [member("l", SYM, "etc"), ("l/.wh...", "")],
    "whiteout of the parent as a directory": [member("etc/.wh...", DIR)],
    "whiteout of the parent as a hard link": [("f", ""), member(".wh...", LINK, "f")],
    "whiteout above the root": [("../.wh.neighbour", "")],
    "opaque above the root": [("../.wh..wh..opq", "")],
    "a member above the root": [("../neighbour/file", "evil")],
    "a member far above the root": [("a/../../../outside", "evil")],
    "a link above the root": [member("..", SYM, "/etc/")],
    "a hard link to itself": [("a", "a"), member("a", LINK, "a")],
    "a hard link to nothing": [member("a", LINK, "none")],
    "a hard link to the root": [member("a", LINK, "/")],
    "a hard link to a directory": [ETC, member("a", LINK, "etc")],
    "a hard link below a file": [("f", ""), member("a", LINK, "f/x")],
    "a file below a file": [("f", ""), ("f/x", "x")],
    "links in a circle": [member("a", SYM, "b"), member("b", SYM, "a"), ("a/x", "x")],
    "too deep": [("d/" * 300 + "x", "x")],
    "too deep by links": [("d/" * 200 + "x", "x"), member("l", SYM, "d/" * 200), ("l/" + "e/" * 100 + "x", "x")],
    "a name that is too long": [("x" * 300, "x")],
    "an unknown kind of member": [member("a", b"V")],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_layer_may_do_is_refused_by_member(root: Path, name: str) -> None:
    """One error, which names the layer and the member."""
    with pytest.raises(BadImage, match=r"^layer: '") as caught:
        applied(root, *REFUSED[name])
    last = REFUSED[name][-1]
    assert repr((last[0] if isinstance(last, tuple) else last.name)[:200])[:-1] in str(caught.value)


def test_a_whiteout_of_the_parent_deletes_nothing(root: Path) -> None:
    """Neither the layer that has it nor the store around it."""
    with pytest.raises(BadImage):
        applied(root, ("etc/passwd", "inside"), ("etc/.wh...", ""))
    assert (root / "etc/passwd").read_text() == "inside"


WHITEOUTS: dict[str, tuple[Members, Callable[[Path], bool]]] = {
    "below a file that replaced its directory": (
        [("a/b", "x"), ("a", "now a file"), ("a/.wh.b", "")], text("a", "now a file"),
    ),
    "opaque below a file": ([("a", "a file"), ("a/.wh..wh..opq", "")], text("a", "a file")),
    "before the directory that it removes": (
        [(".wh.a", ""), member("a", DIR), ("a/new", "new")], lambda root: opaque(root / "a") and text("a/new", "new")(root),
    ),
    "before a file of the directory that it removes": (
        [(".wh.a", ""), ("a/new", "new")], lambda root: opaque(root / "a") and text("a/new", "new")(root),
    ),
    "before the file that it removes": ([(".wh.a", ""), ("a", "new")], text("a", "new")),
    "a directory in place of a file": ([("a", "a"), member("a", DIR)], lambda root: opaque(root / "a")),
    "twice": ([(".wh.a", ""), (".wh.a", "")], lambda root: whiteout(root / "a")),
    "opaque in a directory that only it names": ([("a/b/.wh..wh..opq", "")], lambda root: opaque(root / "a/b")),
    "opaque at the root": ([(".wh..wh..opq", ""), ("a", "a")], lambda root: opaque(root)),
    "of a name with spaces": ([(".wh. a ", "")], lambda root: whiteout(root / " a ")),
    "with content": ([(".wh.a", "content"), ("b", "b")], lambda root: whiteout(root / "a") and text("b", "b")(root)),
    "of a whiteout's name": ([("d/.wh..wh.x", "")], lambda root: whiteout(root / "d/.wh.x")),
}  # fmt: skip


@pytest.mark.parametrize("name", WHITEOUTS)
def test_a_whiteout_hides_what_lower_layers_have(root: Path, name: str) -> None:
    """And never more than that, whatever came before it at its place."""
    members, check = WHITEOUTS[name]
    applied(root, *members)
    assert check(root)


def test_only_so_many_directories_are_replaced(root: Path) -> None:
    """Each is a deletion of a tree."""
    members = [item for _ in range(1100) for item in (member("a", DIR), member("a", SYM, "b"))]
    with pytest.raises(BadImage, match="more than 1000 directories are replaced"):
        applied(root, *members)


def test_times_and_owners_are_those_of_the_layer(root: Path) -> None:
    """Of directories too, whatever is written below them later, and of links themselves."""

    def dated(item: tarfile.TarInfo, mtime: float) -> tarfile.TarInfo:
        item.mtime, item.uid, item.gid = mtime, 12, 34
        return item

    members: Members = [
        dated(member(".", DIR), 500), dated(member("d", DIR), 1000), dated(member("d/e", DIR), 2000.5), ("d/e/f", "f"),
        dated(member("l", SYM, "/etc"), 3000), dated(member("h", LINK, "d/e/f"), 4000), dated(member("p", tarfile.FIFOTYPE), 5000),
        dated(member("old", DIR), -5),
    ]  # fmt: skip
    applied(root, *members)
    times = {name: (root / name).lstat().st_mtime_ns / 1e9 for name in (".", "d", "d/e", "l", "d/e/f", "p", "old")}
    assert times == {".": 500, "d": 1000, "d/e": 2000.5, "l": 3000, "d/e/f": 4000, "p": 5000, "old": 0}
    assert {((root / name).lstat().st_uid, (root / name).lstat().st_gid) for name in ("d", "l", "p", "h")} == {(12, 34)}


def test_a_tree_of_a_build_has_no_whiteouts_and_follows_no_link(root: Path) -> None:
    """A context and an archive of ADD are no layers."""
    unpack(io.BytesIO(layer((".wh.a", "a file"), ("a", "a"))), str(root), "context", whiteouts=False)
    assert {path.name: path.read_text() for path in root.iterdir()} == {".wh.a": "a file", "a": "a"}
    with pytest.raises(BadImage, match="leads through a link"):
        unpack(io.BytesIO(layer(member("l", SYM, "/tmp"), ("l/x", "x"))), str(root), "context", whiteouts=False)
