"""Indexes, manifests and configs: from bytes to values, every field checked and bounded. Pure.

Source: the OCI image-spec (index, manifest, config, descriptor) and Docker's image manifest version 2, schema 2.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass, field
from typing import Any

from pinnace.oci import BadImage
from pinnace.oci.documents import MAX_JSON, check_map, check_string, check_strings, document, entries
from pinnace.oci.reference import is_digest

__all__ = [
    "ACCEPTED", "ARCHITECTURE", "MAX_JSON", "MAX_LAYERS", "MAX_LAYER_BYTES", "Descriptor", "ImageConfig", "Manifest", "choose",
    "config", "descriptor", "digest_of", "document", "entries", "is_index", "manifest",
]  # fmt: skip
MAX_LAYERS = 120
MAX_LAYER_BYTES = 16 << 30
MAX_PLATFORMS = 200
# Characters of a config's User, WorkingDir and StopSignal.
MAX_USER, MAX_PATH, MAX_SIGNAL = 256, 4096, 32
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
# The last three are what registries have made of the second, and Docker takes them for it.
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json",
    "application/octet-stream", "application/json", "text/html",
)  # fmt: skip
_LAYERS = tuple(
    base + suffix
    for base in ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar")
    for suffix in ("", "+gzip", "+zstd", ".gzip", ".zstd")
)
# Of this machine, as images name it.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What points at content. `size` is in bytes, -1 where the document does not say."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """`id` is the digest of its bytes, and the image's id; `run` is the `config` member (Env, Cmd, ...).

    `diff_ids` are digests of uncompressed layers, from the bottom up. `document` is what was read, byte for byte: only so
    can the image be given away under the same id.
    """

    id: str
    run: dict[str, Any]
    diff_ids: tuple[str, ...]
    document: bytes = field(default=b"", repr=False)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_index(value: dict[str, Any]) -> bool:
    return "manifests" in value and "layers" not in value


def choose(value: dict[str, Any], name: str) -> Descriptor:
    """The index's entry for this machine. Raises BadImage."""
    listed = entries(value, "manifests", name)
    if len(listed) > MAX_PLATFORMS:
        raise BadImage(f"{name} lists {len(listed)} manifests; at most {MAX_PLATFORMS} are read")
    offered = []
    for entry in listed:
        where = entry.get("platform") if isinstance(entry, dict) else None
        where = where if isinstance(where, dict) else {}
        offered.append(f"{where.get('os')}/{where.get('architecture')}"[:40])
        if offered[-1] == f"linux/{ARCHITECTURE}":
            return descriptor(entry, f"{name}: manifests")
    others = ", ".join(sorted({text for text in offered if "unknown" not in text})[:10])
    raise BadImage(f"the image has no manifest for linux/{ARCHITECTURE}" + (f" (it has: {others})" if others else ""))


def manifest(value: dict[str, Any], name: str) -> Manifest:
    """Raises BadImage, also for formats that are not supported, by name."""
    if value.get("schemaVersion") == 1 or "fsLayers" in value:
        raise BadImage(f"{name} is a Docker schema 1 manifest, which is not supported: push the image again with a newer tool")
    config = descriptor(value.get("config"), f"{name}: config")
    if config.media_type and config.media_type not in _CONFIGS:
        raise BadImage(f"{name} is not a container image: its config is {config.media_type[:100]}")
    layers = tuple(descriptor(item, f"{name}: layers[{at}]") for at, item in enumerate(entries(value, "layers", name)))
    if len(layers) > MAX_LAYERS:
        raise BadImage(f"{len(layers)} layers; at most {MAX_LAYERS} are supported")
    for layer in layers:
        _check_layer(layer, name)
    return Manifest(config, layers)


def _check_layer(layer: Descriptor, name: str) -> None:
    kind = layer.media_type
    if "foreign" in kind or "nondistributable" in kind:
        raise BadImage(f"{name} has a foreign layer ({kind[:100]}), which is not supported")
    if kind and kind not in _LAYERS:
        raise BadImage(f"{name} has a layer of type {kind[:100]}, which is not supported")
    if layer.size > MAX_LAYER_BYTES:
        raise BadImage(f"{name}: layer {layer.digest[:19]} is larger than {MAX_LAYER_BYTES >> 30} GiB")


def descriptor(value: Any, name: str) -> Descriptor:
    """Raises BadImage unless it has a sha256 digest and a size that can be one."""
    if not isinstance(value, dict):
        raise BadImage(f"{name} is no descriptor")
    digest, size, kind = value.get("digest"), value.get("size", -1), value.get("mediaType", "")
    if not isinstance(digest, str) or not is_digest(digest):
        raise BadImage(f"{name}: {str(digest)[:80]!r} is not a sha256 digest")
    if type(size) is not int or size < -1:
        raise BadImage(f"{name}: {str(size)[:80]!r} is not a size")
    return Descriptor(kind if isinstance(kind, str) else "", digest, size)


def config(data: bytes, layers: int, name: str) -> ImageConfig:
    """A config that goes with a manifest of so many layers. Raises BadImage."""
    value = document(data, name)
    # In any case, as containerd normalises it.
    if str(system := value.get("os") or "linux").lower() != "linux":
        raise BadImage(f"{name} is for {str(system)[:40]}, and this node runs linux")
    rootfs = value.get("rootfs")
    diff_ids = entries(rootfs if isinstance(rootfs, dict) else {}, "diff_ids", name)
    if len(diff_ids) != layers or not 1 <= layers <= MAX_LAYERS:
        raise BadImage(f"{name} names {len(diff_ids)} layers, the manifest {layers}")
    for digest in diff_ids:
        if not isinstance(digest, str) or not is_digest(digest):
            raise BadImage(f"{name}: {str(digest)[:80]!r} is not a sha256 digest")
    return ImageConfig(digest_of(data), _run(value, name), tuple(diff_ids), data)


def _run(value: dict[str, Any], name: str) -> dict[str, Any]:
    """The `config` member, those of its members that are used checked: what a node does with them later cannot fail for
    their form. Raises BadImage."""
    run = value.get("config")
    if run is None:
        return {}
    if not isinstance(run, dict):
        raise BadImage(f"{name}: config is not an object")
    where = f"{name}: config"
    for key in ("Env", "Cmd", "Entrypoint", "Shell", "OnBuild"):
        check_strings(run, key, where)
    for key, most in (("User", MAX_USER), ("WorkingDir", MAX_PATH), ("StopSignal", MAX_SIGNAL)):
        check_string(run, key, where, most)
    check_map(run, "Labels", where, of_strings=True)
    for key in ("Volumes", "ExposedPorts"):
        check_map(run, key, where, of_strings=False)
    return run
