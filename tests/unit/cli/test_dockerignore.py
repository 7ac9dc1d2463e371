"""What of a context is packed."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from cli import buildcontext, dockerignore
from pinnace.errors import BadRequest
from pinnace.pathfilters import PathFilter

FILES = (
    "README.md",
    "LICENSE.md",
    "a.tmp",
    "sub/a.tmp",
    "sub/b.txt",
    "sub/deep/c.txt",
    "sub/deep/README.md",
    "node_modules/x/y",
    ".git/HEAD",
)

CASES = {
    "nothing": ("", set()),
    "a comment and blanks": ("# all\n\n   \n", set()),
    "a file": ("README.md", {"README.md"}),
    "a leading slash": ("/README.md", {"README.md"}),
    "a folder": ("sub", {"sub/a.tmp", "sub/b.txt", "sub/deep/c.txt", "sub/deep/README.md"}),
    "a folder with a slash": ("sub/deep/", {"sub/deep/c.txt", "sub/deep/README.md"}),
    "a star stays in its folder": ("*.tmp", {"a.tmp"}),
    "a star for one folder": ("*/*.tmp", {"sub/a.tmp"}),
    "two stars": ("**/*.tmp", {"a.tmp", "sub/a.tmp"}),
    "two stars at the end": ("sub/**", {"sub/a.tmp", "sub/b.txt", "sub/deep/c.txt", "sub/deep/README.md"}),
    "two stars in the middle": ("sub/**/README.md", {"sub/deep/README.md"}),
    "a question mark": ("?.tmp", {"a.tmp"}),
    "a class": ("[a-c].tmp", {"a.tmp"}),
    "a negated class": ("[^a].tmp", set()),
    "taken back": ("*.md\n!README.md", {"LICENSE.md"}),
    "the last one decides": ("*.md\n!README.md\nREADME.*", {"LICENSE.md", "README.md"}),
    "taken back below a folder": ("sub\n!sub/deep/c.txt", {"sub/a.tmp", "sub/b.txt", "sub/deep/README.md"}),
    "everything but": ("*\n!sub/deep", set(FILES) - {"sub/deep/c.txt", "sub/deep/README.md"}),
    "everything but, by two stars": ("**\n!**/README.md", set(FILES) - {"README.md", "sub/deep/README.md"}),
    "dots are letters": ("READMExmd", set()),
    "a parent's folder": ("../README.md", set()),
}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "context" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "context"


def packed(context: Path, ignore: PathFilter) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(buildcontext.pack(context, ignore))))


@pytest.mark.parametrize("name", CASES)
def test_patterns(name: str, context: Path) -> None:
    """Docker's own rules; the files that stay at home."""
    text, ignored = CASES[name]
    with packed(context, dockerignore.parse(text, ".dockerignore")) as tar:
        assert {item.name for item in tar if item.isfile()} == set(FILES) - ignored


def test_folders_come_before_what_they_hold_and_only_when_needed(context: Path) -> None:
    """An ignored folder comes along with a file of it that is taken back."""
    with packed(context, dockerignore.parse("*\n!sub/deep/c.txt", "x")) as tar:
        assert tar.getnames() == ["sub", "sub/deep", "sub/deep/c.txt"]


def test_links_are_packed_as_links_and_sockets_are_left(context: Path) -> None:
    """Nothing outside of the context is read."""
    os.symlink("/etc/passwd", context / "out")
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(context / "socket"))
        with packed(context, dockerignore.parse("", "x")) as tar:
            assert tar.getmember("out").issym()
            assert "socket" not in tar.getnames()


@pytest.mark.parametrize(
    ("text", "words"), [("[a", "x:1"), ("a\n!", "x:2"), ("a\\", "x:1"), ("[z-a]", "empty"), ("a\n" * 1001, "1000")]
)
def test_bad_patterns_name_file_and_line(text: str, words: str) -> None:
    """And are not passed over."""
    with pytest.raises(BadRequest) as caught:
        dockerignore.parse(text, "x")
    assert words in caught.value.message


def test_fifos_and_whiteout_names_are_refused_by_name(context: Path) -> None:
    """A layer cannot hold the one, and would take the other for a deletion."""
    os.mkfifo(context / "pipe")
    with pytest.raises(BadRequest, match="pipe"):
        packed(context, dockerignore.parse("", "x"))
    os.unlink(context / "pipe")
    (context / ".wh.x").touch()
    with pytest.raises(BadRequest, match=r"\.wh\.x"):
        packed(context, dockerignore.parse("", "x"))


def test_the_dockerfiles_own_ignore_file_wins(context: Path) -> None:
    """DOCKERFILE.dockerignore, as BuildKit has it."""
    (context / ".dockerignore").write_text("*.md")
    assert len(buildcontext.read_ignore(context, context / "Dockerfile").patterns) == 1
    (context / "other.dockerignore").write_text("a\nb\nc")
    assert len(buildcontext.read_ignore(context, context / "other").patterns) == 3
