"""Images of this node to registries: of each layer a gzip, and of each registry only what it lacks."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from nodeagent.images.blobs import Blobs
from nodeagent.images.progress import megabytes
from nodeagent.images.registry.config import Registries
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.registry.errors import RegistryError
from nodeagent.images.registry.http import Http
from nodeagent.images.registry.pushing import WritableRepository
from nodeagent.images.store import Image, ImageStore
from pinnace.oci import BadImage
from pinnace.oci.manifest import OCI_MANIFEST, Descriptor, digest_of
from pinnace.oci.reference import Reference

MAX_TARGETS = 32
# Layers whose packed form is remembered.
MAX_KNOWN = 2000
_CONFIG, _LAYER = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
_T = TypeVar("_T")
Say = Callable[[str], None]


class PushError(Exception):
    """The text says which registry refused what."""


class Pusher:
    def __init__(self, store: ImageStore, registries: Registries, http: Http, blobs: Blobs) -> None:
        self._store = store
        self._registries = registries
        self._http = http
        self._blobs = blobs
        # Layers as they were packed, by diff id, and the repositories of each registry that have a blob.
        self._packed: dict[str, Descriptor] = {}
        self._held: dict[tuple[str, str], str] = {}

    async def push(self, image: Image, targets: Sequence[Reference], credentials: Sequence[Credential], say: Say) -> str:
        """Push to each target, and return the manifest's digest. Raises PushError."""
        try:
            document = self._store.document(image)
            with self._store.hold(image.layers), tempfile.TemporaryDirectory(dir=self._store.incoming) as scratch:
                config = Path(scratch) / "config"
                config.write_bytes(document)
                for name in targets:
                    found = await self._to(image, name, credentials, Path(scratch), say)
                    self._store.pushed(image, str(name), f"{name.name}@{found}")
                return found
        except (RegistryError, BadImage) as error:
            raise PushError(str(error)) from None
        except OSError as error:
            raise PushError(f"it cannot be packed on this node: {error.strerror or error}") from None

    async def _to(self, image: Image, name: Reference, credentials: Sequence[Credential], scratch: Path, say: Say) -> str:
        # The registry itself: a mirror is for reading.
        endpoint = self._registries.endpoints(name)[-1]
        target = WritableRepository(self._http, endpoint, name.repository, credentials)
        layers: list[Descriptor] = []
        for number, diff_id in enumerate(image.layers, 1):
            say(f"{name}: layer {number} of {len(image.layers)}")
            layers.append(await self._layer(target, name, diff_id, scratch, say))
        data = (scratch / "config").read_bytes()
        config = Descriptor(_CONFIG, digest_of(data), len(data))
        await self._blob(target, name, config, scratch / "config")
        manifest = json.dumps(_manifest(config, layers), separators=(",", ":")).encode()
        await self._run(target.put_manifest, manifest, OCI_MANIFEST, name.tag)
        return digest_of(manifest)

    async def _layer(self, target: WritableRepository, name: Reference, diff_id: str, scratch: Path, say: Say) -> Descriptor:
        """A layer in the registry, packed only when nothing says that the registry has it."""
        known = self._packed.get(diff_id)
        if known is not None and await self._run(target.has, known.digest):
            self._held[name.host, known.digest] = name.repository
            return known
        path = scratch / diff_id.removeprefix("sha256:")
        item = await self._run(self._pack, diff_id, path)
        if len(self._packed) >= MAX_KNOWN:
            self._packed.clear()
            self._held.clear()
        self._packed[diff_id] = item
        if known != item and await self._run(target.has, item.digest):
            self._held[name.host, item.digest] = name.repository
            return item
        say(f"{name}: sending {megabytes(item.size)}")
        await self._blob(target, name, item, path, asked=True)
        return item

    async def _blob(
        self, target: WritableRepository, name: Reference, item: Descriptor, path: Path, *, asked: bool = False
    ) -> None:  # fmt: skip
        if asked or not await self._run(target.has, item.digest):
            other = self._held.get((name.host, item.digest), "")
            await self._run(target.put, item, path, other if other != name.repository else "")
        self._held[name.host, item.digest] = name.repository

    def _pack(self, diff_id: str, path: Path) -> Descriptor:
        """The layer's tar again, as gzip. The same layer is always the same bytes. Raises BadImage, OSError."""
        plain = hashlib.sha256()
        if not path.exists():
            _, chunks = self._store.tar(diff_id)
            with open(path, "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as out:
                for chunk in chunks:
                    plain.update(chunk)
                    out.write(chunk)
            if f"sha256:{plain.hexdigest()}" != diff_id:
                raise BadImage(f"layer {diff_id[:19]} cannot be made again as it was: push the image from where it came")
        packed = hashlib.sha256()
        with open(path, "rb") as file:
            while data := file.read(1 << 20):
                packed.update(data)
            return Descriptor(_LAYER, "sha256:" + packed.hexdigest(), file.tell())

    async def _run(self, call: Callable[..., _T], *arguments: object) -> _T:
        return await self._blobs.ask(functools.partial(call, *arguments))


def _manifest(config: Descriptor, layers: Sequence[Descriptor]) -> dict[str, object]:
    def written(item: Descriptor) -> dict[str, object]:
        return {"mediaType": item.media_type, "digest": item.digest, "size": item.size}

    return {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": written(config), "layers": [written(item) for item in layers],
    }  # fmt: skip
