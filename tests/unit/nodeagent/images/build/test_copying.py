"""COPY's files: where they land, what they look like, and that no link leads out, of the context or of the image."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodeagent import trees
from nodeagent.images.build import adding, content, copying, globbing
from nodeagent.images.build.copying import Manner
from nodeagent.images.build.errors import BuildError
from tests.support.archives import layer, member

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


def copy(image: Path, target: str, context: Path, *patterns: str, manner: Manner = Manner()) -> None:  # noqa: B008
    with opened(image) as root, opened(context) as source:
        for path in globbing.find(source, patterns, "the context"):
            copying.copy(root, target, source, path, manner)


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
    copy(image, "/n/m/", context, "folder", manner=Manner((5, 6), 0o711))
    for name in ("n", "n/m", "n/m/c.txt", "n/m/deep/d.txt", "n/m/link"):
        assert (os.lstat(image / name).st_uid, os.lstat(image / name).st_gid) == (5, 6), name
    assert stat.S_IMODE(os.stat(image / "n/m/deep/d.txt").st_mode) == 0o711
    copy(image, "/kept", context, "a.txt", manner=Manner(None))
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
    assert stat.S_IMODE(os.stat(image / "etc/deep").st_mode) == 0o700


@pytest.mark.parametrize(
    ("patterns", "target", "words"),
    [
        (["../secret"], "/x", r"'\.\.'"), (["folder/../../secret"], "/x", r"'\.\.'"), (["nope"], "/x", "no such file"), (["*.nope"], "/x/", "no such file"),
        (["out"], "/x", "no such file"), (["outdir/secret"], "/x", "no such file"), (["out[dD]ir/s*"], "/x/", "no such file"),
        (["[a"], "/x", "not closed"), (["pipe"], "/x", "neither file nor folder"), (["folder"], "/file", "no folder"),
        (["a.txt"], "/file/x", "no folder"), (["a.txt"], "/dangling/x", "link to nothing"), (["folder"], "/clash", "cannot replace"),
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
        with pytest.raises(BuildError, match="link to nothing"):
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
    with opened(context) as source:
        for work in (lambda: copy(image, "/x", context, "d"), lambda: content.digest(source, ["d"])):
            with pytest.raises(BuildError, match="nested deeper"):
                work()
    trees.remove(context)
    assert not context.exists()
    trees.remove(context)


def test_the_digest_of_content_sees_content(context: Path) -> None:
    """Bytes, names, modes and links; not owners and times."""
    with opened(context) as root:
        first = content.digest(root, ["folder", "a.txt"])
        os.utime(context / "folder/c.txt", (5, 5))
        os.chown(context / "folder/c.txt", 5, 5)
        assert content.digest(root, ["folder", "a.txt"]) == first
        seen = {first}
        for change in (
            lambda: (context / "folder/c.txt").write_text("C"), lambda: os.chmod(context / "folder/c.txt", 0o600),
            lambda: os.rename(context / "folder/c.txt", context / "folder/e.txt"), lambda: (context / "folder/deep/new").mkdir(),
            lambda: (os.unlink(context / "folder/link"), os.symlink("x", context / "folder/link")),
        ):  # fmt: skip
            change()
            seen.add(content.digest(root, ["folder", "a.txt"]))
        assert len(seen) == 6


@pytest.mark.parametrize("form", ["plain", "gz", "bz2", "xz"])
def test_archives_are_opened_whatever_their_compression(context: Path, tmp_path: Path, form: str) -> None:
    """And what is no archive is not."""
    import bz2
    import gzip
    import lzma

    pack = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[form]
    (context / "archive").write_bytes(pack(layer(("x/y", "content"))))
    (context / "no-archive").write_bytes(pack(b"just text, and more of it" * 100))
    with opened(context) as root:
        with adding.opened(root, "archive", tmp_path / "s", extract=True) as found:
            assert found is not None
            assert (tmp_path / "s/x/y").read_text() == "content"
        assert not (tmp_path / "s").exists()
        for path, extract in (("no-archive", True), ("archive", False), ("folder", True)):
            with adding.opened(root, path, tmp_path / "s", extract=extract) as found:
                assert found is None


def test_a_hostile_archive_writes_nothing_outside(context: Path, tmp_path: Path) -> None:
    """Its error names the member."""
    import tarfile

    (context / "up.tar").write_bytes(layer(("../../escaped", "x")))
    (context / "link.tar").write_bytes(layer(member("l", tarfile.SYMTYPE, str(tmp_path)), ("l/escaped", "x")))
    (context / "cut.tar").write_bytes(layer(("a", "x" * 5000))[:2000])
    with opened(context) as root:
        for name in ("up.tar", "link.tar", "cut.tar"):
            with pytest.raises(BuildError), adding.opened(root, name, tmp_path / "s", extract=True):
                pass
    assert not list(tmp_path.rglob("escaped"))
