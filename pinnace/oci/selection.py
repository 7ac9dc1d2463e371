"""Which image of an index is meant on this machine: through nested indexes, past attestations, by config where need be.

Without input or output: a generator yields each document that it wants and is sent its bytes, so that archives and registries
are searched by the same rules. Source: the OCI image-spec (index, platform); containerd's core/images (Manifest, which looks
into the config of a manifest that an index lists without a platform) and validateMediaType (CVE-2021-41190).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from pinnace.oci import BadImage
from pinnace.oci.documents import document, entries
from pinnace.oci.manifest import (
    ACCEPTED,
    ARCHITECTURE,
    MAX_PLATFORMS,
    Descriptor,
    ImageConfig,
    Manifest,
    config,
    descriptor,
    is_index,
    manifest,
)

MAX_DEPTH = 5
# Documents that are read to find one image.
MAX_DOCUMENTS = 64
_ATTESTATION = "vnd.docker.reference.type"
_UNKNOWN = "unknown"
# Variants that every machine of an architecture runs.
_VARIANTS = {"amd64": ("", "v1"), "arm64": ("", "v8"), "arm": ("", "v7", "v6", "v5")}
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A document to read: a config, or else a manifest or index. `required`: without it there is no image; what is not
    required may be answered with None, when it is not there."""

    descriptor: Descriptor
    is_config: bool
    required: bool


@dataclass(frozen=True, slots=True)
class Selected:
    manifest: Manifest
    config: ImageConfig


Selecting = Generator[Wanted, bytes | None, Selected]
_Looking = Generator[Wanted, bytes | None, Selected | None]


def select(data: bytes, name: str) -> Selecting:
    """The image for this machine of a manifest or an index; `name` is the image's. Raises BadImage."""
    search = _Search(name)
    found = yield from search.look(data, 0, certain=True)
    if found is None:
        raise BadImage(search.nothing())
    return found


def select_all(listed: list[Any], name: str) -> Generator[Wanted, bytes | None, list[Selected]]:
    """Every image for this machine that a list of descriptors has, those with a platform first. Raises BadImage."""
    search = _Search(name)
    found: dict[str, Selected] = {}
    for item, certain in search.candidates(listed, f"the index of {name}"):
        image = yield from search.fetch(item, 0, certain=certain or len(listed) == 1)
        if image is not None:
            found.setdefault(image.config.id, image)
    if not found:
        raise BadImage(search.nothing())
    return list(found.values())


class _Search:
    """One search; `others` are the platforms that it met and that are not this machine's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._documents = 0
        self._seen: set[str] = set()
        self._others: set[str] = set()

    def nothing(self) -> str:
        """What a search without a result says."""
        has = f" (it has: {', '.join(sorted(self._others)[:10])})" if self._others else ""
        return f"the image has no manifest for linux/{ARCHITECTURE}{has}"

    def look(self, data: bytes, depth: int, *, certain: bool) -> _Looking:
        """The image in a document; `certain` says that it is for this machine, if it is one."""
        kind = f"the index of {self._name}" if depth else f"the manifest of {self._name}"
        value = document(data, kind)
        _refuse_ambiguous(value, kind)
        if is_index(value):
            if depth >= MAX_DEPTH:
                raise BadImage(f"the index of {self._name} is nested more than {MAX_DEPTH} deep")
            found = yield from self._in_index(value, depth)
            return found
        try:
            known = manifest(value, f"the manifest of {self._name}")
        except BadImage:
            if certain:
                raise
            # Something that is no image (a signature, a chart) in an index that does not say what it is.
            return None
        found = yield from self._with_config(known, certain=certain)
        return found

    def _in_index(self, value: dict[str, Any], depth: int) -> _Looking:
        name = f"the index of {self._name}"
        for item, certain in self.candidates(entries(value, "manifests", name), name):
            found = yield from self.fetch(item, depth + 1, certain=certain)
            if found is not None:
                return found
        return None

    def fetch(self, item: Descriptor, depth: int, *, certain: bool) -> _Looking:
        """The image that a descriptor leads to."""
        if item.digest in self._seen:
            return None
        self._seen.add(item.digest)
        data = yield from self._document(Wanted(item, is_config=False, required=certain))
        if data is None:
            return None
        found = yield from self.look(data, depth, certain=certain)
        return found

    def _with_config(self, known: Manifest, *, certain: bool) -> _Looking:
        data = yield from self._document(Wanted(known.config, is_config=True, required=certain))
        if data is None:
            return None
        name = f"the config of {self._name}"
        value = document(data, name)
        if not certain and (platform := _platform(value)) and not _fits(platform):
            self._others.add(_text(platform))
            return None
        return Selected(known, config(data, len(known.layers), name))

    def _document(self, wanted: Wanted) -> Generator[Wanted, bytes | None, bytes | None]:
        self._documents += 1
        if self._documents > MAX_DOCUMENTS:
            raise BadImage(f"more than {MAX_DOCUMENTS} documents to find the image of {self._name} for linux/{ARCHITECTURE}")
        data = yield wanted
        if data is None and wanted.required:
            raise BadImage(f"{wanted.descriptor.digest} of {self._name} is missing")
        return data

    def candidates(self, listed: list[Any], name: str) -> Iterable[tuple[Descriptor, bool]]:
        """Entries that may be for this machine: those whose platform says so, then those without a platform."""
        if len(listed) > MAX_PLATFORMS:
            raise BadImage(f"{name} lists {len(listed)} manifests; at most {MAX_PLATFORMS} are read")
        certain, open_ = [], []
        for entry in listed:
            item = descriptor(entry, f"{name}: manifests")
            platform = _platform(entry.get("platform"))
            if is_no_image(entry) or (item.media_type and item.media_type not in ACCEPTED and not platform):
                continue
            if platform is None:
                open_.append((item, False))
            elif _fits(platform):
                certain.append((item, True))
            else:
                self._others.add(_text(platform))
        return [*certain, *open_]


Platform = tuple[str, str, str]


def _platform(value: Any) -> Platform | None:
    """Operating system, architecture and variant, as Go names them; None where there is neither of the first two."""
    if not isinstance(value, dict):
        return None
    system, architecture, variant = (
        str(value.get(key) or "").lower()[:40] for key in ("os", "architecture", "variant")
    )  # fmt: skip
    if not system and not architecture:
        return None
    return system or "linux", _ARCHITECTURES.get(architecture, architecture), variant


def _fits(platform: Platform) -> bool:
    system, architecture, variant = platform
    return system == "linux" and architecture in ("", ARCHITECTURE) and variant in _VARIANTS.get(ARCHITECTURE, (variant,))


def _text(platform: Platform) -> str:
    return "/".join(part for part in platform if part)


def is_no_image(entry: dict[str, Any]) -> bool:
    """What BuildKit lists with an image: provenance and a bill of materials."""
    annotations, platform = entry.get("annotations"), _platform(entry.get("platform"))
    if isinstance(annotations, dict) and annotations.get(_ATTESTATION):
        return True
    return platform is not None and _UNKNOWN in platform[:2]


def _refuse_ambiguous(value: dict[str, Any], name: str) -> None:
    """Refuse what one reader takes for an index and another for a manifest. Raises BadImage."""
    kind = str(value.get("mediaType") or "")
    listing, single = bool(value.get("manifests")), bool(value.get("layers") or value.get("config"))
    if listing and (single or kind.endswith((".manifest.v1+json", ".manifest.v2+json"))):
        raise BadImage(f"{name} is both an index and a manifest")
    if single and kind.endswith((".index.v1+json", ".list.v2+json")):
        raise BadImage(f"{name} says that it is an index and is a manifest")
