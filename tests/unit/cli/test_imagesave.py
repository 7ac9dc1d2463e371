"""A saved image is an OCI layout and a docker archive at once, for every tool that reads one of them."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.commands import imagesave, imageshow
from pinnace.errors import BadRequest
from pinnace.oci.archive import Archive, ImageArchive
from tests.support import archives
from tests.support.archives import layer

BASE, TOP = layer(("etc/motd", "base")), layer(("etc/motd", "top"))
HISTORY = [
    {"created": "2026-01-01T00:00:00Z", "created_by": "COPY base  /"}, {"created_by": "ENV A=b", "empty_layer": True},
    {"created_by": "RUN " + "x" * 100, "comment": "built"},
]  # fmt: skip


@pytest.fixture
def image(tmp_path: Path) -> Iterator[ImageArchive]:
    """With a repeated layer."""
    config = json.loads(archives.config_of(BASE, TOP, BASE))
    path = archives.docker(tmp_path / "in.tar", BASE, TOP, BASE, config=json.dumps(config | {"history": HISTORY}).encode())
    archive = Archive(path)
    yield archive.images("")[0]
    archive.close()


@pytest.fixture
def saved(tmp_path: Path, image: ImageArchive) -> Path:
    with open(tmp_path / "out.tar", "wb") as file:
        imagesave.write([image], file)
    return tmp_path / "out.tar"


def test_a_saved_image_is_read_as_either_format(tmp_path: Path, saved: Path, image: ImageArchive) -> None:
    """With its id, its name and its layers, each once."""
    for without in ("manifest.json", "oci-layout"):
        other = tmp_path / "other.tar"
        with tarfile.open(saved) as source, tarfile.open(other, "w") as target:
            assert len(source.getnames()) == len(set(source.getnames())) == 7
            for member in source:
                if member.name != without:
                    target.addfile(member, source.extractfile(member))
        archive = Archive(other)
        [found] = archive.images("")
        assert found.config.id == image.config.id
        assert found.references == ("docker.io/library/demo:1",)
        assert [item.open().read() for item in found.layers] == [BASE, TOP, BASE]
        archive.close()


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_skopeo_takes_a_saved_image(tmp_path: Path, saved: Path, form: str) -> None:
    """It checks every digest on the way."""
    command = ["skopeo", "--insecure-policy", "copy", f"{form}:{saved}", f"dir:{tmp_path / 'copied'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_takes_a_saved_layout_by_name(tmp_path: Path, saved: Path) -> None:
    """Unpacked to a directory, as `oci:` wants it."""
    with tarfile.open(saved) as tar:
        tar.extractall(tmp_path / "layout", filter="data")
    source = f"oci:{tmp_path / 'layout'}:docker.io/library/demo:1"
    command = ["skopeo", "--insecure-policy", "copy", source, f"dir:{tmp_path / 'copied'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


DIGEST = "docker.io/library/demo@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("names", "tags"),
    [
        (("demo:1", DIGEST), ["docker.io/library/demo:1"]),
        ((DIGEST,), None),
        ((), None),
        (("demo", "reg.example:5000/a/b:2"), ["docker.io/library/demo:latest", "reg.example:5000/a/b:2"]),
    ],
)
def test_docker_load_can_take_a_saved_image(
    tmp_path: Path, image: ImageArchive, names: tuple[str, ...], tags: list[str] | None
) -> None:
    """Its requirements: every RepoTag has a tag, one layer file for each diff id of the config, each of just that content.

    Source: moby's image/tarexport/load.go. It reads `repositories` only where there is no manifest.json."""
    with open(tmp_path / "out.tar", "wb") as file:
        imagesave.write([dataclasses.replace(image, references=names)], file)
    with tarfile.open(tmp_path / "out.tar") as tar:
        files = {member.name: found.read() for member in tar if (found := tar.extractfile(member)) is not None}
    [entry] = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == tags
    config = json.loads(files[entry["Config"]])
    assert config.get("os", "linux") == "linux"
    assert config["rootfs"]["diff_ids"] == [archives.digest(files[path]) for path in entry["Layers"]]
    if shutil.which("skopeo") is not None:
        source = f"docker-archive:{tmp_path / 'out.tar'}{f':{tags[0]}' if tags else ''}"
        command = ["skopeo", "--insecure-policy", "copy", source, f"dir:{tmp_path / 'copied'}"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_a_layer_that_is_another_is_not_saved(image: ImageArchive) -> None:
    """A node that cannot make the tar again is found out."""
    wrong = dataclasses.replace(image.layers[0], size=len(TOP), open=lambda: io.BytesIO(TOP))
    with pytest.raises(BadRequest, match=r"cannot restore layer sha256:"):
        imagesave.write([dataclasses.replace(image, layers=(wrong, *image.layers[1:]))], io.BytesIO())


def test_history_names_each_step_and_its_layer(image: ImageArchive) -> None:
    """The newest first; a step without a layer has no size, a layer without a step stands on top."""
    found = imageshow.rows(image, whole=False)
    assert [row[1][:12] for row in found] == ["", "RUN xxxxxxxx", "ENV A=b", "COPY base /"]
    assert [row[2] for row in found][2] == "0B"
    assert found[1][1].endswith("...")
    assert found[1][3] == "built"
