"""Image archives made in memory, good and bad."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(*members: tarfile.TarInfo | tuple[str, str]) -> bytes:
    """A layer's tar. A pair is a file's name and text."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1].encode()))
            else:
                tar.addfile(member)
    return out.getvalue()


def member(name: str, type_: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = type_, link, 0o755
    return info


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def config_of(*layers: bytes, **more: Any) -> bytes:
    document = {
        "config": {"Cmd": ["/bin/sh"], **more},
        "rootfs": {"type": "layers", "diff_ids": [digest(item) for item in layers]},
    }
    return json.dumps(document).encode()


def docker(path: Path, *layers: bytes, tag: str = "demo:1", config: bytes | None = None) -> Path:
    """As `docker save` writes it."""
    files = {f"{number}/layer.tar": data for number, data in enumerate(layers)}
    body = config if config is not None else config_of(*layers)
    manifest = [{"Config": "config.json", "RepoTags": [tag] if tag else None, "Layers": list(files)}]
    return archive(path, {**files, "config.json": body, "manifest.json": json.dumps(manifest).encode()})


def oci(path: Path, *layers: bytes, name: str = "demo:1", compress: bool = True, index: bool = False) -> Path:
    """As an OCI image layout; with `index`, behind an index of two platforms."""
    blobs = {}

    def put(data: bytes) -> str:
        blobs[f"blobs/sha256/{digest(data)[7:]}"] = data
        return digest(data)

    packed = [gzip.compress(data) if compress else data for data in layers]
    manifest = {"config": {"digest": put(config_of(*layers))}, "layers": [{"digest": put(data)} for data in packed]}
    top = put(json.dumps(manifest).encode())
    if index:
        import platform

        arch = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
        listed = [
            {"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "s390x"}},
            {"digest": top, "platform": {"os": "linux", "architecture": arch}},
        ]
        top = put(json.dumps({"manifests": listed}).encode())
    annotations = {"io.containerd.image.name": name} if name else {}
    body = {"manifests": [{"digest": top, "annotations": annotations}]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(body).encode(), **blobs}
    return archive(path, files)
