"""Archives as other tools write them: `docker save` of every age, skopeo, podman, crane, kaniko, BuildKit, containerd, tar by hand."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from nodeagent.images.records import Image
from nodeagent.images.store import ImageStore
from pinnace.oci import BadImage
from pinnace.oci.manifest import ARCHITECTURE
from tests.support import archives
from tests.support.archives import digest, layer, member

pytestmark = pytest.mark.root
BASE = layer(member("bin", tarfile.DIRTYPE), ("bin/sh", "shell"), ("etc/motd", "base"))
TOP = layer(("etc/motd", "top"))
DIR, LINK, SYM = tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE
OCI = "application/vnd.oci.image"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
Entries = list[tuple[tarfile.TarInfo | str, bytes]]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def written(path: Path, entries: Entries, format_: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format_) as tar:
        for entry, data in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def listed(config: str, layers: list[str], tags: list[str] | None = ["demo:1"]) -> bytes:  # noqa: B006
    return json.dumps([{"Config": config, "RepoTags": tags, "Layers": layers}]).encode()


CONFIG = archives.config_of(BASE, TOP)
THRICE = archives.config_of(BASE, TOP, BASE, TOP)
ID = digest(CONFIG)[7:]


def link(name: str, target: str, kind: bytes = SYM) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind, target), b""


DOCKER: dict[str, Entries] = {
    "docker save since 1.10, layers that are alike as links": [
        (f"{ID}.json", THRICE), (member("aa/", DIR), b""), ("aa/VERSION", b"1.0"), ("aa/json", b"{}"), ("aa/layer.tar", BASE),
        ("bb/layer.tar", TOP), link("cc/layer.tar", "../aa/layer.tar"), link("dd/layer.tar", "../bb/layer.tar"),
        ("manifest.json", listed(f"{ID}.json", ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar", "dd/layer.tar"])),
        ("repositories", b"{}"),
    ],
    "layers that are alike as hard links": [
        ("c.json", THRICE), ("aa/layer.tar", BASE), ("bb/layer.tar", TOP), link("cc/layer.tar", "aa/layer.tar", LINK),
        link("dd/layer.tar", "./bb/layer.tar", LINK),
        ("manifest.json", listed("c.json", ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar", "dd/layer.tar"])),
    ],
    "links before their targets, and to links": [
        link("z/layer.tar", "../y/layer.tar"), link("y/layer.tar", "/x/layer.tar"), ("x/layer.tar", TOP), ("b.tar", BASE),
        ("c.json", CONFIG), ("manifest.json", listed("c.json", ["b.tar", "z/layer.tar"])),
    ],
    "one path for every layer that is alike": [
        ("c.json", THRICE), ("aa.tar", BASE), ("bb.tar", TOP),
        ("manifest.json", listed("c.json", ["aa.tar", "bb.tar", "aa.tar", "bb.tar"])),
    ],
    "crane, a config by its digest": [
        (f"sha256:{ID}", CONFIG), ("aaaa.tar.gz", gzip.compress(BASE)), ("bbbb.tar.gz", gzip.compress(TOP)),
        ("manifest.json", listed(f"sha256:{ID}", ["aaaa.tar.gz", "bbbb.tar.gz"])),
    ],
    "docker save since 25, blobs alone": [
        (f"blobs/sha256/{ID}", CONFIG), (f"blobs/sha256/{digest(BASE)[7:]}", BASE), (f"blobs/sha256/{digest(TOP)[7:]}", TOP),
        ("manifest.json", listed(f"blobs/sha256/{ID}", [f"blobs/sha256/{digest(item)[7:]}" for item in (BASE, TOP)])),
    ],
    "names that begin with a dot": [
        ("./c.json", CONFIG), ("./a/layer.tar", BASE), ("./b/layer.tar", TOP), (".//manifest.json", listed("c.json", ["a/layer.tar", "b/layer.tar"])),
    ],
    "absolute names": [
        ("/c.json", CONFIG), ("/a/layer.tar", BASE), ("//b/layer.tar", TOP), ("/manifest.json", listed("/c.json", ["a/layer.tar", "/b/layer.tar"])),
    ],
    "names that go up again": [
        ("x/../c.json", CONFIG), ("a/./layer.tar", BASE), ("b/layer.tar", TOP), ("manifest.json", listed("./c.json", ["./a//layer.tar", "a/../b/layer.tar"])),
    ],
    "names without an end": [
        ("c", CONFIG), ("one", BASE), ("two", TOP), ("manifest.json", listed("c", ["one", "two"])),
    ],
    "a member twice, the later counts": [
        ("c.json", b"{}"), ("a", BASE), ("b", BASE), ("b", TOP), ("c.json", CONFIG), ("manifest.json", listed("c.json", ["a", "b"])),
    ],
    "long names": [
        ("n" * 200 + ".json", CONFIG), ("d" * 150 + "/layer.tar", BASE), ("e" * 150 + "/layer.tar", TOP),
        ("manifest.json", listed("n" * 200 + ".json", ["d" * 150 + "/layer.tar", "e" * 150 + "/layer.tar"])),
    ],
    "a layer in each compression": [
        ("c.json", THRICE), ("1", gzip.compress(BASE)), ("2", zstandard.ZstdCompressor().compress(TOP)), ("3", bz2.compress(BASE)),
        ("4", lzma.compress(TOP)), ("manifest.json", listed("c.json", ["1", "2", "3", "4"])),
    ],
}  # fmt: skip


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", DOCKER)
async def test_docker_archives_of_every_tool_are_read(store: ImageStore, tmp_path: Path, name: str, format_: int) -> None:
    """The same image, as a tar and as the directory that it unpacks to."""
    path = written(tmp_path / "a.tar", DOCKER[name], format_)
    [image] = await store.load(path, "")
    assert image.references == ("docker.io/library/demo:1",)
    assert store.read_file(image, "etc/motd") == b"top"
    assert store.read_file(image, "bin/sh") == b"shell"
    if not any(part in name for part in ("absolute", "go up", "before their targets")):
        (tmp_path / "unpacked").mkdir()
        subprocess.run(["tar", "--no-same-owner", "-xf", path, "-C", tmp_path / "unpacked"], check=True)
        again = ImageStore(tmp_path / "again")
        assert (await again.load(tmp_path / "unpacked", ""))[0].id == image.id


async def test_tags_of_an_archive_are_all_kept(store: ImageStore, tmp_path: Path) -> None:
    """Of several images too; what is no tag is none."""
    both = [
        {"Config": "c.json", "RepoTags": ["a:1", "b:2", "a:1"], "Layers": ["a", "b"]},
        {"Config": "d.json", "RepoTags": ["<none>:<none>", "c:3"], "Layers": ["a"]},
    ]
    entries: Entries = [("c.json", CONFIG), ("d.json", archives.config_of(BASE)), ("a", BASE), ("b", TOP)]
    path = written(tmp_path / "a.tar", [*entries, ("manifest.json", json.dumps(both).encode())])
    first, second = await store.load(path, "")
    assert first.references == ("docker.io/library/a:1", "docker.io/library/b:2")
    assert second.references == ("docker.io/library/c:3",)
    with pytest.raises(BadImage, match="the archive has 2 images, and a name that is given"):
        await store.load(path, "mine:1")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress])
async def test_a_whole_archive_may_be_packed(store: ImageStore, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """As `docker save | xz` makes it."""
    path = archives.docker(tmp_path / "a.tar", BASE, TOP)
    path.write_bytes(pack(path.read_bytes()))
    [image] = await store.load(path, "")
    assert store.read_file(image, "etc/motd") == b"top"


# Streams of several parts


def skippable(number: int, size: int = 10) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, size) + b"s" * size


ZSTD = zstandard.ZstdCompressor().compress
STREAMS: dict[str, bytes] = {
    "a skippable frame first": skippable(0) + ZSTD(TOP),
    "skippable frames of every kind": b"".join(skippable(n) for n in range(16)) + ZSTD(TOP) + skippable(3),
    "zstd:chunked, a table of contents at the end": ZSTD(TOP[:700]) + ZSTD(TOP[700:]) + skippable(14, 64) + skippable(14, 40),
    "a skippable frame without content": skippable(1, 0) + ZSTD(TOP),
    "an empty frame": ZSTD(b"") + ZSTD(TOP),
    "gzip members": b"".join(gzip.compress(TOP[at : at + 100]) for at in range(0, len(TOP), 100)),
    "zeros after gzip": gzip.compress(TOP) + bytes(5000),
    "an empty gzip member": gzip.compress(b"") + gzip.compress(TOP) + gzip.compress(b""),
    "bzip2 streams": bz2.compress(TOP[:600]) + bz2.compress(TOP[600:]),
    "xz streams and padding": lzma.compress(TOP[:600]) + bytes(4096) + lzma.compress(TOP[600:]) + bytes(8),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_streams_of_several_parts_are_one_layer(store: ImageStore, tmp_path: Path, name: str) -> None:
    """As parallel packers and lazily pulled formats write them."""
    entries: Entries = [("c.json", CONFIG), ("a", BASE), ("b", STREAMS[name])]
    [image] = await store.load(written(tmp_path / "a.tar", [*entries, ("manifest.json", listed("c.json", ["a", "b"]))]), "")
    assert store.read_file(image, "etc/motd") == b"top"


# OCI layouts


class Layout:
    """An OCI layout under construction."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        self.blobs[digest(data)] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}

    def image(self, text: str, architecture: str = ARCHITECTURE, **more: Any) -> dict[str, Any]:
        data = layer(("etc/motd", text))
        config = {"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": [digest(data)]}}
        value = {
            "schemaVersion": 2, "config": self.put(json.dumps(config).encode(), f"{OCI}.config.v1+json"),
            "layers": [self.put(gzip.compress(data, mtime=0), f"{OCI}.layer.v1.tar+gzip")],
        }  # fmt: skip
        return self.put(json.dumps(value).encode(), f"{OCI}.manifest.v1+json", **more)

    def index(self, *entries: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.put(json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), f"{OCI}.index.v1+json", **more)

    def written(self, path: Path, *entries: dict[str, Any], prefix: str = "") -> Path:
        files: Entries = [(f"{prefix}blobs/sha256/{name[7:]}", data) for name, data in self.blobs.items()]
        top = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        return written(path, [(f"{prefix}oci-layout", LAYOUT), *files, (f"{prefix}index.json", top)])


def on(architecture: str, system: str = "linux") -> dict[str, Any]:
    return {"platform": {"os": system, "architecture": architecture}}


def named(name: str, key: str = "io.containerd.image.name", **more: str) -> dict[str, Any]:
    return {"annotations": {key: name, **more}}


HERE, OTHER, NONE = on(ARCHITECTURE), on("s390x"), on("unknown", "unknown")
DEMO = named("docker.io/library/demo:1", **{"org.opencontainers.image.ref.name": "1"})
ATTESTED = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
LAYOUTS: dict[str, Callable[[Layout], list[dict[str, Any]]]] = {
    "several platforms on top": lambda made: [
        made.image("other", "s390x", **OTHER, **DEMO), made.image("mine", **HERE, **DEMO), made.image("unknown", **NONE, **DEMO),
    ],
    "several platforms on top, none named": lambda made: [
        made.image("other", "s390x", **OTHER), made.image("mine", **HERE), made.image("attested", "unknown", **NONE, **ATTESTED),
    ],
    "an index behind the top": lambda made: [
        made.index(made.image("other", "s390x", **OTHER), made.image("mine", **HERE), made.image("x", **NONE, **ATTESTED), **DEMO),
    ],
    "indexes behind indexes": lambda made: [made.index(made.index(made.index(made.image("mine", **HERE))), **DEMO)],
    "an index for the platform": lambda made: [made.index(made.image("mine"), **HERE, **DEMO)],
    "entries without a platform": lambda made: [made.image("other", "s390x", **DEMO), made.image("mine", **DEMO)],
    "a manifest and its index": lambda made: [
        made.image("mine", **DEMO), made.index(made.image("mine", **HERE), made.image("other", "s390x", **OTHER), **DEMO),
    ],
    "an image for another architecture alone": lambda made: [made.image("mine", "s390x", **DEMO)],
    "other platforms that were not exported": lambda made: [
        made.index({"mediaType": f"{OCI}.manifest.v1+json", "digest": digest(b"x"), "size": 1, **OTHER}, made.image("mine", **HERE), **DEMO),
    ],
    "several names of one image": lambda made: [made.image("mine", **DEMO), made.image("mine", **named("docker.io/library/demo:1"))],
    "a signature next to it": lambda made: [
        made.image("mine", **HERE, **DEMO),
        made.put(b'{"schemaVersion":2,"config":{"mediaType":"application/vnd.dev.cosign","digest":"%s","size":2},"layers":[]}'
                 % digest(b"{}").encode(), f"{OCI}.manifest.v1+json", **DEMO),
    ],
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "./", "/"])
@pytest.mark.parametrize("name", LAYOUTS)
async def test_layouts_of_every_shape_yield_this_machine_s_image(
    store: ImageStore, tmp_path: Path, name: str, prefix: str
) -> None:
    """By its name, or by the one that is given."""
    made = Layout()
    path = made.written(tmp_path / "a.tar", *LAYOUTS[name](made), prefix=prefix)
    [image] = await store.load(path, "demo:1" if "none named" in name else "")
    assert image.references == ("docker.io/library/demo:1",)
    assert store.read_file(image, "etc/motd") == b"mine"
    [again] = await store.load(path, "given:1")
    assert again.id == image.id


async def test_a_layout_of_several_images_yields_each(store: ImageStore, tmp_path: Path) -> None:
    """With its own names, in several platforms each."""
    made = Layout()
    one, two, three = named("one:1"), named("two:1", "org.opencontainers.image.ref.name"), named("one:latest")
    entries = [
        made.image("one", **HERE, **one), made.image("two", **HERE, **two), made.image("one, other", "s390x", **OTHER, **one),
        made.image("one", **three), made.image("attested", **NONE, **ATTESTED),
    ]  # fmt: skip
    images: list[Image] = await store.load(made.written(tmp_path / "a.tar", *entries), "")
    found = {item.references: store.read_file(item, "etc/motd") for item in images}
    assert found == {
        ("docker.io/library/one:1", "docker.io/library/one:latest"): b"one", ("docker.io/library/two:1",): b"two"
    }  # fmt: skip


REFUSED: dict[str, tuple[Callable[[Layout], list[dict[str, Any]]], str]] = {
    "no platform of ours": (lambda made: [made.image("a", "s390x", **OTHER), made.image("b", "ppc64le", **on("ppc64le"))],
                            r"no manifest for linux/\w+ \(it has: linux/ppc64le, linux/s390x\)"),
    "two images without names": (lambda made: [made.image("a"), made.image("b")], "index.json has 2 images without a name"),
    "attestations alone": (lambda made: [made.image("a", **NONE, **ATTESTED)], "index.json lists no manifest"),
    "nothing": (lambda made: [], "index.json lists no manifest"),
    "another digest": (lambda made: [{"digest": "sha512:" + "a" * 128, "size": 1}], "is not a sha256 digest"),
    "a blob that is not there": (lambda made: [{"digest": "sha256:" + "a" * 64, "size": 1}], "blob sha256:a+ is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_layout_without_an_image_of_ours_says_why(store: ImageStore, tmp_path: Path, name: str) -> None:
    """And keeps nothing."""
    made = Layout()
    make, said = REFUSED[name]
    with pytest.raises(BadImage, match=said):
        await store.load(made.written(tmp_path / "a.tar", *make(made)), "demo:1")
    assert store.all() == []


async def test_other_things_in_tars_are_refused_by_name(store: ImageStore, tmp_path: Path) -> None:
    """Layouts of the future, archives of the past, members that lead out, links in circles, images for Windows."""
    image = [("c.json", CONFIG), ("a", BASE), ("b", TOP)]
    windows = json.dumps({**json.loads(CONFIG), "os": "windows"}).encode()
    cases: dict[str, Entries] = {
        "oci-layout is of version '2.0.0'": [("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'), ("index.json", b"{}")],
        "an archive of Docker before 1.10": [("repositories", b"{}"), ("aa/json", b"{}"), ("aa/layer.tar", BASE)],
        "layer ../b is missing": [*image, ("manifest.json", listed("c.json", ["a", "../b"]))],
        "layer z is missing": [*image, link("z", "y"), link("y", "z"), ("manifest.json", listed("c.json", ["a", "z"]))],
        "layer out is missing": [*image, link("out", "../../b"), ("manifest.json", listed("c.json", ["a", "out"]))],
        "c.json is for windows": [("c.json", windows), *image[1:], ("manifest.json", listed("c.json", ["a", "b"]))],
        "manifest.json lists no image": [*image, ("manifest.json", b"[]")],
        "images is not a list": [*image, ("manifest.json", b'{"a": 1}')],
    }  # fmt: skip
    for said, entries in cases.items():
        with pytest.raises(BadImage, match=said):
            await store.load(written(tmp_path / "a.tar", entries), "demo:1")


async def test_a_link_in_a_directory_leads_nowhere_else(store: ImageStore, tmp_path: Path) -> None:
    """A layer that is a link to a file of the host is none."""
    path = tmp_path / "d"
    path.mkdir()
    (tmp_path / "outside").write_bytes(BASE)
    (path / "c.json").write_bytes(archives.config_of(BASE))
    (path / "a").symlink_to(tmp_path / "outside")
    (path / "manifest.json").write_bytes(listed("c.json", ["a"]))
    with pytest.raises(BadImage, match="layer a is missing"):
        await store.load(path, "")
    (path / "b").write_bytes(BASE)
    (path / "a").unlink()
    (path / "a").symlink_to("b")
    assert await store.load(path, "")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize("form", ["docker-archive:{}/out:demo:1", "oci-archive:{}/out:demo:1", "oci:{}/out:demo:1", "dir"])
async def test_what_skopeo_writes_is_read(store: ImageStore, tmp_path: Path, form: str) -> None:
    """From an archive of ours, with a repeated layer, in each of its formats."""
    source = archives.docker(tmp_path / "a.tar", BASE, TOP, BASE, TOP)
    target = form.format(tmp_path)
    if form == "dir":
        target = f"oci:{tmp_path}/shared:demo:1"
    command = ["skopeo", "--insecure-policy", "copy", f"docker-archive:{source}", target]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    [image] = await store.load(tmp_path / ("shared" if form == "dir" else "out"), "")
    assert image.references == ("docker.io/library/demo:1",)
    assert store.read_file(image, "etc/motd") == b"top"
    assert len(image.layers) == 4
