"""Accept and Content-Type: in which form a client wants an answer, and in which one it sends.

Source: RFC 9110, section 12.5.1; "Alternate representations of resources" of the Kubernetes API concepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from pinnace.errors import NotAcceptable, UnsupportedMediaType

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
# Parts of an Accept header that are looked at.
MAX_PARTS = 32
# Characters of an Accept header that is kept with its meaning.
MAX_KEPT = 1024
TABLE, PARTIAL, PARTIAL_LIST = "Table", "PartialObjectMetadata", "PartialObjectMetadataList"
_META = "meta.k8s.io"


@dataclass(frozen=True, slots=True)
class Media:
    """One media type: `type/subtype` in lower case, its parameters, and its weight."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Form:
    """How objects are sent: `media` is JSON, YAML or PROTOBUF; `shape` is empty for the object itself, TABLE, or PARTIAL, in
    version `version` of meta.k8s.io."""

    media: str = JSON
    shape: str = ""
    version: str = "v1"

    @property
    def content_type(self) -> str:
        return self.media


def accepted(header: str) -> tuple[Media, ...]:
    """The media types of an Accept header, the preferred first; anything if the header is empty."""
    return _known(header) if len(header) <= MAX_KEPT else _accepted(header)


@lru_cache(maxsize=256)
def _known(header: str) -> tuple[Media, ...]:
    """Clients send the same again and again; only short ones are kept."""
    return _accepted(header)


def _accepted(header: str) -> tuple[Media, ...]:
    found = [
        media for part in header.split(",", MAX_PARTS)[:MAX_PARTS] if (media := parse(part)) is not None and media.weight > 0
    ]
    return tuple(sorted(found, key=lambda media: -media.weight)) if header.strip() else (Media("*/*"),)


def parse(text: str) -> Media | None:
    """None for what is no media type."""
    name, *rest = (piece.strip() for piece in text.split(";"))
    if name.count("/") != 1:
        return None
    parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in (piece.partition("=") for piece in rest)}
    try:
        weight = min(max(float(parameters.pop("q", "1")), 0.0), 1.0)
    except ValueError:
        weight = 1.0
    return Media(name.lower(), parameters, weight)


def form(header: str, *, protobuf: bool, tables: bool = True, stream: bool = False) -> Form:
    """The first form that both sides know. `protobuf`: the resource's messages are Kubernetes'. In protobuf every resource has
    its metadata alone, and none has a table. A `stream` has no form in YAML.

    Source: AllowsMediaTypeTransform and NegotiateOutputMediaTypeStream of apiserver's endpoints/handlers. Raises
    NotAcceptable."""
    known = {JSON: JSON, "*/*": JSON, "application/*": JSON}
    known |= ({} if stream else {YAML: YAML}) | ({PROTOBUF: PROTOBUF} if protobuf else {})
    shaped = {**known, PROTOBUF: PROTOBUF} if tables else {}
    for media in accepted(header):
        shape = media.parameters.get("as", "")
        if not shape and media.type in known:
            return Form(known[media.type])
        if not shape or media.parameters.get("g") != _META or media.parameters.get("v") not in ("v1", "v1beta1"):
            continue
        name = shaped.get(media.type)
        if name is None or (shape == TABLE and name == PROTOBUF):
            continue
        if shape in (TABLE, PARTIAL, PARTIAL_LIST):
            return Form(name, PARTIAL if shape == PARTIAL_LIST else shape, media.parameters["v"])
    raise NotAcceptable(f"only the following media types are accepted: {', '.join(dict.fromkeys(_names(known)))}")


def _names(known: dict[str, str]) -> Iterator[str]:
    yield from known.values()


def content_type(header: str, *, known: tuple[str, ...]) -> str:
    """The media type of a body; without a header JSON, as clients leave it out. Raises UnsupportedMediaType."""
    media = parse(header) if header else Media(JSON)
    name = media.type if media is not None else header
    # curl's default for a body is what no client of the API means.
    if name in known:
        return name
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(known)}"
    )
