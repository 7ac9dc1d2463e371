"""Whatever stands in a document or an archive, reading it ends in a value or in BadImage."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinnace.oci import BadImage, manifest
from pinnace.oci.archive import Archive
from tests.support.archives import digest

# Words that the readers look for, so that what is drawn gets past the first check.
_KEYS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform", "os", "architecture",
     "annotations", "rootfs", "diff_ids", "Config", "Layers", "RepoTags", "fsLayers"]
)  # fmt: skip
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 1 << 70), st.floats(allow_nan=False), st.text(max_size=10),
    st.sampled_from(["sha256:" + "0" * 64, "linux", "amd64", "arm64", digest(b"{}"), "blobs/sha256/" + digest(b"{}")[7:]]),
)  # fmt: skip
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=20
)
# A machine that is busy draws slowly, which says nothing of what is drawn.
_PATIENT = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_OBJECTS = st.dictionaries(_KEYS, _JSON, max_size=8)


@_PATIENT
@given(_OBJECTS)
def test_documents_of_any_shape(value: dict[str, Any]) -> None:
    """Index, manifest and config."""
    for read in (manifest.choose, manifest.manifest, manifest.descriptor):
        with contextlib.suppress(BadImage):
            read(value, "it")
    with contextlib.suppress(BadImage):
        manifest.config(json.dumps(value).encode(), 1, "it")


@_PATIENT
@given(st.binary(max_size=200))
def test_bytes_of_any_kind(data: bytes) -> None:
    """Not even JSON."""
    with contextlib.suppress(BadImage):
        manifest.document(data, "it")


@_PATIENT
@given(_JSON, _OBJECTS, st.booleans())
def test_archives_of_any_content(top: Any, blob: dict[str, Any], oci: bool) -> None:
    """An index of any shape, with one blob that it may name."""
    body = json.dumps(blob).encode()
    files = {f"blobs/sha256/{digest(body)[7:]}": body, f"blobs/sha256/{digest(b'{}')[7:]}": b"{}"}
    files |= (
        {"oci-layout": b"{}", "index.json": json.dumps(top).encode()} if oci else {"manifest.json": json.dumps(top).encode()}
    )
    with tempfile.NamedTemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        file.flush()
        read(Path(file.name))


@_PATIENT
@given(st.binary(max_size=2000))
def test_files_of_any_bytes(data: bytes) -> None:
    """Not even a tar."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        read(Path(file.name))


def read(path: Path) -> None:
    with contextlib.suppress(BadImage):
        archive = Archive(path)
        try:
            for image in archive.images("name:1"):
                for layer in image.layers:
                    layer.open().close()
        finally:
            archive.close()
