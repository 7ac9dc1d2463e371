"""Images from archives: every format, layers shared, and what a hostile archive gets: one error, and nothing kept."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
from pathlib import Path

import pytest

from nodeagent.images.store import ImageNotFound, ImageStore
from pinnace.oci import BadImage
from pinnace.oci.reference import familiar, normalise
from tests.support import archives
from tests.support.archives import layer, member

pytestmark = pytest.mark.root
BASE = layer(member("bin", tarfile.DIRTYPE), ("bin/sh", "shell"), ("etc/motd", "hello"))
TOP = layer(("etc/motd", "changed"))


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def kept(store: ImageStore) -> list[str]:
    """What is on disk besides folders that are always there."""
    return [str(path) for name in ("_layers", "_images", "incoming") for path in getattr(store, name).iterdir()]


@pytest.mark.parametrize("form", ["docker", "oci", "oci plain", "oci index", "rootfs"])
async def test_every_format_yields_the_same_files(store: ImageStore, tmp_path: Path, form: str) -> None:
    """Names, layers from the top down, and content."""
    path = tmp_path / "image.tar"
    match form:
        case "docker":
            archives.docker(path, BASE, TOP)
        case "rootfs":
            path.write_bytes(BASE)
        case _:
            archives.oci(path, BASE, TOP, compress=form != "oci plain", index=form == "oci index")
    [image] = await store.load(path, "demo:1" if form == "rootfs" else "")
    assert store.find("demo:1").id == image.id
    assert image.references == ("docker.io/library/demo:1",)
    assert store.read_file(image, "etc/motd") == (b"hello" if form == "rootfs" else b"changed")
    assert store.read_file(image, "bin/sh") == b"shell"
    assert not list(store.incoming.iterdir())


async def test_layers_are_unpacked_once_and_survive_a_restart(store: ImageStore, tmp_path: Path) -> None:
    """A second image with the same base adds one folder; a new store finds both."""
    await store.load(archives.docker(tmp_path / "a.tar", BASE, tag="a:1"), "")
    inode = os.stat(store.lower_dirs(store.find("a:1"))[0]).st_ino
    await store.load(archives.docker(tmp_path / "b.tar", BASE, TOP, tag="b:1"), "")
    again = ImageStore(tmp_path / "images")
    assert os.stat(again.lower_dirs(again.find("b:1"))[-1]).st_ino == inode
    assert len(list(again._layers.iterdir())) == 2


async def test_a_name_moves_to_the_newer_image(store: ImageStore, tmp_path: Path) -> None:
    """As tags do; the older image stays, nameless."""
    [old] = await store.load(archives.docker(tmp_path / "a.tar", BASE), "")
    [new] = await store.load(archives.docker(tmp_path / "b.tar", BASE, TOP), "")
    assert store.find("demo:1").id == new.id
    assert store.find(old.id).references == ()
    with pytest.raises(ImageNotFound):
        store.find("demo:2")


async def test_whiteouts_become_overlayfs_own(store: ImageStore, tmp_path: Path) -> None:
    """A removed file is a 0:0 device, an opaque folder has the xattr."""
    top = layer(("etc/.wh.motd", ""), member("bin", tarfile.DIRTYPE), ("bin/.wh..wh..opq", ""))
    [image] = await store.load(archives.docker(tmp_path / "a.tar", BASE, top), "")
    folder = Path(store.lower_dirs(image)[0])
    status = os.lstat(folder / "etc/motd")
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0
    assert os.getxattr(folder / "bin", "trusted.overlay.opaque") == b"y"


async def test_device_nodes_are_left_out(store: ImageStore, tmp_path: Path) -> None:
    """A container's /dev is its own."""
    device = member("dev/sda", tarfile.BLKTYPE)
    device.devmajor = 8
    [image] = await store.load(archives.docker(tmp_path / "a.tar", layer(("a", "b"), device)), "")
    assert not (Path(store.lower_dirs(image)[0]) / "dev/sda").exists()


async def test_a_program_keeps_its_capabilities_and_no_layer_marks_itself(store: ImageStore, tmp_path: Path) -> None:
    """security.capability is set after the owner, which would clear it; an attribute of overlayfs is not taken over."""
    ping = member("ping", tarfile.REGTYPE)
    # CAP_NET_RAW, permitted and effective (capabilities(7), vfs_cap_data of revision 2).
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    ping.pax_headers = {
        "SCHILY.xattr.security.capability": value.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.trusted.overlay.opaque": "y",
    }
    [image] = await store.load(archives.docker(tmp_path / "a.tar", layer(ping)), "")
    path = Path(store.lower_dirs(image)[0]) / "ping"
    assert os.getxattr(path, "security.capability") == value
    assert os.listxattr(path) == ["security.capability"]


ESCAPES = {
    "parent": ([("../../evil", "x")], "'../../evil'"),
    "parent inside": ([("a/../../evil", "x")], "'a/../../evil'"),
    "hard link out": ([member("passwd", tarfile.LNKTYPE, "../../../../../etc/passwd")], "'passwd'"),
    "hard link through a link": (
        [member("e", tarfile.SYMTYPE, "/etc"), member("passwd", tarfile.LNKTYPE, "e/passwd")],
        "'passwd'",
    ),
    "whiteout out": ([("../.wh.evil", "")], "'../.wh.evil'"),
}


@pytest.mark.parametrize("name", ESCAPES)
async def test_a_layer_that_leads_out_is_refused_by_member(store: ImageStore, tmp_path: Path, name: str) -> None:
    """The error names layer and member; nothing is written outside, and nothing of the image is kept."""
    members, shown = ESCAPES[name]
    before = sorted(tmp_path.iterdir())
    path = archives.docker(tmp_path / "evil.tar", layer(("fine", "first"), *members))
    with pytest.raises(BadImage) as caught:
        await store.load(path, "")
    assert shown in str(caught.value)
    assert "layer sha256:" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == sorted([*before, path])
    assert not (tmp_path / "images/evil").exists()
    assert kept(store) == []


async def test_folders_nested_too_deep_are_refused(store: ImageStore, tmp_path: Path) -> None:
    """Deeper than Python's own tools walk and delete; nothing of it is kept."""
    path = archives.docker(tmp_path / "deep.tar", layer(("d/" * 1500 + "file", "x")))
    with pytest.raises(BadImage, match="its path is more than 250 folders deep"):
        await store.load(path, "")
    assert kept(store) == []


async def test_absolute_names_stay_inside(store: ImageStore, tmp_path: Path) -> None:
    """A leading slash means the layer's own root, as in any tar."""
    [image] = await store.load(archives.docker(tmp_path / "a.tar", layer(("/etc/own", "x"))), "")
    assert store.read_file(image, "etc/own") == b"x"


async def test_reading_an_image_follows_no_link_out(store: ImageStore, tmp_path: Path) -> None:
    """/etc/passwd of the image is not the host's."""
    evil = layer(member("etc", tarfile.DIRTYPE), member("etc/passwd", tarfile.SYMTYPE, "/../../../../../../etc/hostname"))
    [image] = await store.load(archives.docker(tmp_path / "a.tar", evil), "")
    assert store.read_file(image, "etc/passwd") == b""


def damaged(tmp_path: Path, form: str) -> Path:
    path = tmp_path / "bad.tar"
    match form:
        case "not a tar":
            path.write_bytes(b"hello" * 1000)
        case "truncated":
            archives.oci(path, BASE)
            path.write_bytes(path.read_bytes()[:2000])
        case "wrong layer digest":
            archives.docker(path, BASE, config=archives.config_of(TOP))
        case "wrong blob digest":
            archives.oci(path, BASE, compress=False)
            path.write_bytes(path.read_bytes().replace(b"hello", b"jello"))
        case "layer counts differ":
            archives.docker(path, BASE, TOP, config=archives.config_of(BASE))
        case "no config":
            archives.archive(path, {"manifest.json": b'[{"Config": "none.json", "Layers": []}]'})
        case "manifest is no json":
            archives.archive(path, {"manifest.json": b"{"})
        case "no name":
            archives.docker(path, BASE, tag="")
        case "zstd":
            data = b"\x28\xb5\x2f\xfd" + b"x" * 100
            archives.docker(path, data)
        case "gzip":
            data = gzip.compress(BASE)[:100]
            archives.docker(path, data)
    return path


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("not a tar", "not an image archive"), ("truncated", "missing|not an image archive|not JSON"), ("wrong layer digest", "does not match its digest"),
        ("wrong blob digest", "does not match its digest"), ("layer counts differ", "names 1 layers, the manifest 2"),
        ("no config", "none.json is missing"), ("manifest is no json", "manifest.json is not JSON"),
        ("no name", "give a name"), ("zstd", "its compression is damaged"), ("gzip", "its compression is damaged"),
    ],
)  # fmt: skip
async def test_a_damaged_archive_is_refused_whole(store: ImageStore, tmp_path: Path, form: str, said: str) -> None:
    """One error that says what is wrong, and no half image."""
    with pytest.raises(BadImage, match=said):
        await store.load(damaged(tmp_path, form), "")
    assert not list(store._images.iterdir())
    assert not list(store.incoming.iterdir())


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"), ("user/app:2", "docker.io/user/app:2"),
        ("localhost/app", "localhost/app:latest"), ("reg.example:5000/a/b:c", "reg.example:5000/a/b:c"),
        ("a@sha256:00", "docker.io/library/a@sha256:00"),
    ],
)  # fmt: skip
def test_names_are_normalised_as_docker_does(text: str, full: str) -> None:
    """And shortened again for people."""
    assert normalise(text) == full
    assert normalise(familiar(full)) == full
