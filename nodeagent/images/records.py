"""What this node knows of an image, and its files: the record, and the config in its own bytes.

The time of the file's last change is when the image was last used: kept on disk without writing the record again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pinnace import pki
from pinnace.oci.reference import BadReference, normalise, parse

log = logging.getLogger("pinnace.images")
_DOCUMENT = ".config"


@dataclass(frozen=True, slots=True)
class Image:
    """`layers` are diff ids from the bottom up, `sizes` the bytes of each on disk, `size` their sum (a layer
    that occurs twice is on disk once).

    `references` are its names; those in `loaded` came by `kctl image load` or a build, and no registry is asked about
    them. `digests` are the names under which registries have it (host/repository@sha256:...). `arrived` is in seconds
    since the epoch.
    """

    id: str
    references: tuple[str, ...]
    config: dict[str, Any]
    layers: tuple[str, ...]
    sizes: tuple[int, ...] = ()
    loaded: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    arrived: float = 0.0

    @property
    def size(self) -> int:
        return sum(dict(zip(self.layers, self.sizes, strict=False)).values())

    @property
    def pinned(self) -> str:
        """What a container's status names: the image by digest, as its registry has it, or by its own id."""
        return self.digests[0] if self.digests else self.id

    def names(self, reference: str) -> bool:
        """Whether text names this image: a name, a name by digest, or an id."""
        if reference in (self.id, self.id.removeprefix("sha256:")) or normalise(reference) in self.references:
            return True
        return "@" in reference and _full(reference) in self.digests


def _full(reference: str) -> str:
    try:
        return str(parse(reference))
    except BadReference:
        return reference


def without(image: Image, names: Iterable[str]) -> Image:
    gone = set(names)
    return replace(
        image,
        references=tuple(name for name in image.references if name not in gone),
        loaded=tuple(name for name in image.loaded if name not in gone),
    )


@dataclass(slots=True)
class Records:
    """Images by id, and `used`: when each was last used."""

    folder: Path
    by_id: dict[str, Image] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)

    def read(self) -> None:
        """What cannot be deleted (of a disk that cannot be written) stays, and is as if it were not there."""
        pki.remove_torn(self.folder)
        for path in self.folder.glob("*.json"):
            try:
                image = _decode(path.read_bytes())
            except (OSError, ValueError, KeyError, TypeError) as error:
                # The node has to pull or load it again; an agent that did not start would cost every pod.
                log.error("image_record_damaged path=%s error=%r", path, error)
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            self.by_id[image.id] = image
            self.used[image.id] = path.stat().st_mtime
        for path in self.folder.glob(f"*{_DOCUMENT}"):
            if f"sha256:{path.name.removesuffix(_DOCUMENT)}" not in self.by_id:
                with contextlib.suppress(OSError):
                    path.unlink()

    def write(self, image: Image, used: float, document: bytes = b"") -> None:
        """`document`: the image's config, of an image that comes; it is there before the record."""
        if document:
            pki.write_private(self._path(image.id, _DOCUMENT), document)
        path = self._path(image.id)
        pki.write_private(path, json.dumps(asdict(image)).encode())
        self.by_id[image.id] = image
        self.touch(image.id, used)

    def touch(self, id_: str, used: float) -> None:
        os.utime(self._path(id_), (used, used))
        self.used[id_] = used

    def document(self, id_: str) -> bytes:
        """Empty for an image that came before configs were kept."""
        try:
            return self._path(id_, _DOCUMENT).read_bytes()
        except FileNotFoundError:
            return b""

    def remove(self, id_: str) -> None:
        """Gone for good once this returns: layers that only this image has are deleted next. Raises OSError."""
        self._path(id_).unlink(missing_ok=True)
        self._path(id_, _DOCUMENT).unlink(missing_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.drop(id_)

    def drop(self, id_: str) -> None:
        """As if it were not there; its record stays."""
        self.by_id.pop(id_, None)
        self.used.pop(id_, None)

    def _path(self, id_: str, suffix: str = ".json") -> Path:
        return self.folder / f"{id_.removeprefix('sha256:')}{suffix}"


def _decode(data: bytes) -> Image:
    record: dict[str, Any] = json.loads(data)
    references = tuple(record["references"])
    return Image(
        record["id"], references, record["config"], tuple(record["layers"]), tuple(record.get("sizes", ())),
        # Before there were registries, every image was loaded.
        loaded=tuple(record.get("loaded", references)), digests=tuple(record.get("digests", ())),
        arrived=record.get("arrived", 0.0),
    )  # fmt: skip
