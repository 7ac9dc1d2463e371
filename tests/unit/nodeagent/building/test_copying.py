"""COPY's files: where they land, what they look like, and that no link leads out, of the context or of the image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nodeagent.building import chmod, content, copying, pieces
from nodeagent.building.errors import BuildError
from nodeagent.building.fileattributes import BY_ROOT, FileAttributes
from nodeagent.building.instructions import Copy
from nodeagent.building.pieces import Piece
from nodeagent.linux import rmtree

pytestmark = pytest.mark.root


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "folder/deep").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "b.txt").write_text("b")
    (root / "folder/c.txt").write_text("c")
    (root / "folder/deep/d.txt").write_text("d")
    os.symlink("../a.txt", root / "folder/link")
    os.chmod(root / "a.txt", 0o640)
    os.chown(root / "a.txt", 77, 77)
    os.utime(root / "a.txt", (1000, 1000))
    return root


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    (root / "usr/lib").mkdir(parents=True)
    os.symlink("usr/lib", root / "lib")
    (root / "etc").mkdir()
    return root


def copy(image: Path, target: str, context: Path, *patterns: str, attributes: FileAttributes = BY_ROOT, **more: Any) -> None:
    """`more` are fields of the COPY: `parents`, `excludes`."""
    item = Copy(line=1, text="COPY", paths=patterns, target=target, **more)
    with opened(image) as root, opened(context) as source:
        found = pieces.find(source, item, item.paths, "the context")
        for piece in found:
            copying.copy(root, target, source, piece.path, attributes, selection=piece.selection, only=len(found) == 1)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("patterns", "target", "wanted"),
    [
        (["a.txt"], "/new", {"new"}), (["a.txt"], "/new/", {"new", "new/a.txt"}), (["a.txt"], "/etc", {"etc/a.txt"}),
        (["a.txt"], "/lib", {"usr/lib/a.txt"}), (["a.txt"], "/lib/x", {"usr/lib/x"}), (["*.txt"], "/n/", {"n", "n/a.txt", "n/b.txt"}),
        (["folder"], "/n", {"n", "n/c.txt", "n/link", "n/deep", "n/deep/d.txt"}), (["fold*"], "/lib/", {"usr/lib/c.txt", "usr/lib/link", "usr/lib/deep", "usr/lib/deep/d.txt"}),
        (["f*/c.txt"], "/n/", {"n", "n/c.txt"}), (["/a.txt"], "/a/b/c", {"a", "a/b", "a/b/c"}), (["./folder/deep/"], "/n/", {"n", "n/d.txt"}),
        (["[ab].txt"], "/n/", {"n", "n/a.txt", "n/b.txt"}), (["folder/link"], "/l", {"l"}),
    ],
)  # fmt: skip
def test_where_things_land(context: Path, image: Path, patterns: list[str], target: str, wanted: set[str]) -> None:
    """Docker's rules; a link of the image on the way is followed inside of the image."""
    before = tree(image)
    copy(image, target, context, *patterns)
    assert tree(image) - before == wanted


def test_files_of_the_context_belong_to_root(context: Path, image: Path) -> None:
    """Mode and time stay; a link that is named is copied as the file it leads to, one inside a folder as a link."""
    copy(image, "/etc/", context, "a.txt", "folder")
    copy(image, "/etc/named", context, "folder/link")
    status = os.stat(image / "etc/a.txt")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0, 0, 0o640, 1000)
    assert os.readlink(image / "etc/link") == "../a.txt"
    assert (image / "etc/named").read_text() == "a"
    assert not (image / "etc/named").is_symlink()


def test_owner_and_mode_as_asked(context: Path, image: Path) -> None:
    """--chown and --chmod, of folders that are made as well."""
    copy(image, "/n/m/", context, "folder", attributes=FileAttributes((5, 6), chmod.parse("711")))
    for name in ("n", "n/m", "n/m/c.txt", "n/m/deep/d.txt", "n/m/link"):
        assert (os.lstat(image / name).st_uid, os.lstat(image / name).st_gid) == (5, 6), name
    assert stat.S_IMODE(os.stat(image / "n/m/deep/d.txt").st_mode) == 0o711
    copy(image, "/kept", context, "a.txt", attributes=FileAttributes(None))
    assert os.stat(image / "kept").st_uid == 77


def test_a_file_replaces_a_file_or_a_link_and_a_folder_is_merged(context: Path, image: Path) -> None:
    """The link goes, not what it led to."""
    (image / "etc/victim").write_text("victim")
    os.symlink("victim", image / "etc/c.txt")
    (image / "etc/deep").mkdir(mode=0o700)
    (image / "etc/deep/there").touch()
    copy(image, "/etc/", context, "folder")
    assert (image / "etc/victim").read_text() == "victim"
    assert (image / "etc/c.txt").read_text() == "c"
    assert {"there", "d.txt"} == set(os.listdir(image / "etc/deep"))


def test_directories_below_the_copied_one_get_the_sources_attributes_and_it_keeps_its_own(context: Path, image: Path) -> None:
    """As in BuildKit: COPY rootfs / gives /tmp the mode of rootfs/tmp, and / keeps its mode."""
    os.chmod(context / "folder", 0o711)
    os.chmod(context / "folder/deep", 0o750)
    os.chown(context / "folder/deep", 7, 8)
    for path in (image / "etc", image / "etc/deep"):
        path.mkdir(exist_ok=True)
        os.chmod(path, 0o1777)
        os.chown(path, 5, 6)
    copy(image, "/etc/", context, "folder", attributes=FileAttributes(None))
    copy(image, "/new", context, "folder", attributes=FileAttributes(None))
    found = {name: os.stat(image / name) for name in ("etc", "etc/deep", "new", "new/deep")}
    assert {name: (stat.S_IMODE(item.st_mode), item.st_uid, item.st_gid) for name, item in found.items()} == {
        "etc": (0o1777, 5, 6), "etc/deep": (0o750, 7, 8), "new": (0o755, 0, 0), "new/deep": (0o750, 7, 8),
    }  # fmt: skip


def test_hard_links_within_a_source_stay_hard_links(context: Path, image: Path) -> None:
    """Also with another owner, and over files that are there; not between two sources."""
    for name in ("folder/l1", "folder/deep/l2", "other"):
        os.link(context / "folder/c.txt", context / name)
    (image / "etc/l1").write_text("old")
    copy(image, "/etc/", context, "folder", "other", attributes=FileAttributes((5, 6)))
    inodes = [os.stat(image / "etc" / name).st_ino for name in ("c.txt", "l1", "deep/l2", "other")]
    assert inodes[0] == inodes[1] == inodes[2] != inodes[3]
    assert os.stat(image / "etc/l1").st_uid == 5
    assert (image / "etc/l1").read_text() == "c"


@pytest.mark.parametrize(
    ("patterns", "target", "words"),
    [
        (["../secret"], "/x", r"by '\.\.'"), (["folder/../../secret"], "/x", r"by '\.\.'"), (["nope"], "/x", "no such file"), (["no.*/x", "no"], "/x/", "no such file"), (["a.txt", "b.txt"], "/n", "several sources"),
        (["out"], "/x", "no such file"), (["outdir/secret"], "/x", "no such file"), (["out[dD]ir/s*", "nope"], "/x/", "no such file"),
        (["[a"], "/x", "not closed"), (["pipe"], "/x", "neither a file nor a directory"), (["folder"], "/file", "is not a directory"),
        (["a.txt"], "/file/x", "is not a directory"), (["a.txt"], "/dangling/x", "dangling symlink"), (["folder"], "/clash", "cannot replace"),
        (["a.txt"], "/clash2/", "cannot replace"),
    ],
)  # fmt: skip
def test_refusals(context: Path, image: Path, patterns: list[str], target: str, words: str) -> None:
    """Each names the path; nothing outside is read."""
    (context.parent / "secret").write_text("secret")
    os.symlink("../secret", context / "out")
    os.symlink(context.parent, context / "outdir")
    os.mkfifo(context / "pipe")
    (image / "file").touch()
    os.symlink("/nowhere", image / "dangling")
    (image / "clash").mkdir()
    (image / "clash/deep").touch()
    (image / "clash2/a.txt").mkdir(parents=True)
    with pytest.raises(BuildError, match=words):
        copy(image, target, context, *patterns)


def test_links_of_an_image_do_not_lead_out_of_it(context: Path, image: Path, tmp_path: Path) -> None:
    """An absolute one starts at the image's root, and .. stops there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(outside, image / "absolute")
    os.symlink("../../../../../../.." + str(outside), image / "dots")
    for target in ("/absolute/x", "/dots/x"):
        with pytest.raises(BuildError, match="dangling symlink"):
            copy(image, target, context, "a.txt")
    os.symlink("/etc", image / "config")
    copy(image, "/config/x", context, "a.txt")
    assert (image / "etc/x").exists()
    assert not os.listdir(outside)


def test_whiteouts_and_devices_are_not_copied(context: Path, image: Path) -> None:
    """A context or archive that has them is refused by name."""
    os.mknod(context / "folder/gone", stat.S_IFCHR, 0)
    with pytest.raises(BuildError, match="gone"):
        copy(image, "/x", context, "folder")


def test_folders_nested_too_deep_are_refused(context: Path, image: Path) -> None:
    """One error, no crash; and such a tree can be removed."""
    current = os.open(context, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    try:
        with opened(context) as source:
            for work in (lambda: copy(image, "/x", context, "d"), lambda: content.digest(source, [Piece("d")])):
                with pytest.raises(BuildError, match="nested deeper"):
                    work()
    finally:
        # pytest's own clean-up is recursive and would fail.
        rmtree.remove(context)
    assert not context.exists()
    rmtree.remove(context)


def test_the_digest_of_content_sees_content(context: Path) -> None:
    """Bytes, names, modes and links; not owners and times."""
    with opened(context) as root:
        first = content.digest(root, [Piece("folder"), Piece("a.txt")])
        os.utime(context / "folder/c.txt", (5, 5))
        os.chown(context / "folder/c.txt", 5, 5)
        assert content.digest(root, [Piece("folder"), Piece("a.txt")]) == first
        seen = {first}
        for change in (
            lambda: (context / "folder/c.txt").write_text("C"), lambda: os.chmod(context / "folder/c.txt", 0o600),
            lambda: os.rename(context / "folder/c.txt", context / "folder/e.txt"), lambda: (context / "folder/deep/new").mkdir(),
            lambda: (os.unlink(context / "folder/link"), os.symlink("x", context / "folder/link")),
        ):  # fmt: skip
            change()
            seen.add(content.digest(root, [Piece("folder"), Piece("a.txt")]))
        assert len(seen) == 6


def test_a_pattern_that_matches_nothing_copies_nothing(context: Path, image: Path) -> None:
    """As in BuildKit: `COPY Dockerfile optional* /x/` is how files are optional."""
    (context.parent / "secret").write_text("secret")
    os.symlink(context.parent, context / "outdir")
    copy(image, "/n/", context, "a.txt", "optional*", "out[dD]ir/s*")
    assert tree(image / "n") == {"a.txt"}


def test_a_path_may_go_up_within_the_tree(context: Path, image: Path) -> None:
    """Only what leads out is refused."""
    copy(image, "/n", context, "folder/../a.txt")
    assert (image / "n").read_text() == "a"


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    root = tmp_path / "deep"
    for name in ("a/b/c/d/foo", "a/b/c/d/e/bay", "a/b2/c/d/e/bar", "a/b/c2/d/e/baz", "a/b/c2/d/e2/baz"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    os.chmod(root / "a", 0o711)
    os.chown(root / "a", 5, 5)
    return root


PARENTS = {
    "a file": (["a/b/c/d/foo"], {"a/b/c/d/foo"}),
    "a directory": (["/a/b/c/d"], {"a/b/c/d/foo", "a/b/c/d/e/bay"}),
    "a directory with a dot": (["./a/b/c/d/."], {"a/b/c/d/foo", "a/b/c/d/e/bay"}),
    "a pivot": (["/a/b/./c/d"], {"c/d/foo", "c/d/e/bay"}),
    "of two pivots the first": (["/a/./b/./c"], {"b/c/d/foo", "b/c/d/e/bay"}),
    "a star": (["/a/./*/c"], {"b/c/d/foo", "b/c/d/e/bay", "b2/c/d/e/bar"}),
    "two stars": (["/a/b*/./c/**/e"], {"c/d/e/bay", "c/d/e/bar"}),
    "several": (["/a/b/c*/./d/**/baz", "/a/b*/./c/**/bar"], {"d/e/baz", "d/e2/baz", "c/d/e/bar"}),
    "a pattern that matches nothing": (["/a/b/./x*"], set()),
}  # fmt: skip


@pytest.mark.parametrize("name", PARENTS)
def test_parents_are_made_in_the_target(deep: Path, image: Path, name: str) -> None:
    """From the pivot point on; only those of what matches."""
    patterns, wanted = PARENTS[name]
    copy(image, "/out/", deep, *patterns, parents=True)
    assert {path for path in tree(image / "out") if (image / "out" / path).is_file()} == wanted


def test_parents_have_the_sources_attributes(deep: Path, image: Path) -> None:
    """Not those that are there already, whose mode changes alone; a plain path must be there."""
    (image / "out/a").mkdir(parents=True)
    copy(image, "/out/", deep, "a/b/c/d/foo", parents=True, attributes=FileAttributes(None))
    copy(image, "/new/", deep, "a/b/c/d/foo", parents=True, attributes=FileAttributes(None))
    found = [os.stat(image / name) for name in ("out/a", "new/a")]
    assert [(stat.S_IMODE(item.st_mode), item.st_uid) for item in found] == [(0o711, 0), (0o711, 5)]
    with pytest.raises(BuildError, match="no such file"):
        copy(image, "/x/", deep, "a/nope", parents=True)


EXCLUDES = {
    "in a subdirectory": ((".",), ("*/*.png", "*/*.jpeg"), {"d1/b.txt", "d2/e.pdf", "top.txt"}),
    "of the directory that is copied": (("d1",), ("*.png",), {"b.txt", "c.jpeg"}),
    "of several": (("d*",), ("*.png", "*.jpeg"), {"b.txt", "e.pdf"}),
    "a directory": ((".",), ("d1",), {"d2/e.pdf", "d2/f.png", "top.txt"}),
    "everywhere": ((".",), ("**/*.txt",), {"d1/a.png", "d1/c.jpeg", "d2/e.pdf", "d2/f.png"}),
    "with an exception": ((".",), ("d1", "!d1/a.png"), {"d1/a.png", "d2/e.pdf", "d2/f.png", "top.txt"}),
    "a file that is named": (("*.txt", "d2"), ("*.txt",), {"e.pdf", "f.png"}),
    "everything": (("d*",), ("*",), set()),
}  # fmt: skip


@pytest.mark.parametrize("name", EXCLUDES)
def test_excluded_files_are_not_copied_and_not_in_the_digest(tmp_path: Path, image: Path, name: str) -> None:
    """Patterns are relative to each directory that is copied."""
    patterns, excludes, wanted = EXCLUDES[name]
    root = tmp_path / "many"
    for file in ("d1/a.png", "d1/b.txt", "d1/c.jpeg", "d2/e.pdf", "d2/f.png", "top.txt"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    copy(image, "/out/", root, *patterns, excludes=excludes)
    assert {path for path in tree(image / "out") if (image / "out" / path).is_file()} == wanted
    item = Copy(line=1, text="COPY", paths=patterns, target="/out/", excludes=excludes)
    with opened(root) as source:
        before = content.digest(source, pieces.find(source, item, item.paths, "x"))
        left = {"d1/a.png", "d1/b.txt", "d1/c.jpeg", "d2/e.pdf", "d2/f.png"}
        for file in left:
            if not any(file.endswith(path) for path in wanted):
                (root / file).write_text("changed")
        assert content.digest(source, pieces.find(source, item, item.paths, "x")) == before


def test_a_bad_exclude_is_refused(context: Path, image: Path) -> None:
    """By its pattern."""
    with pytest.raises(BuildError, match="not closed"):
        copy(image, "/x/", context, "folder", excludes=("[a",))
