"""Images that were loaded into a lab, for a node that comes later: no registry has them."""

from __future__ import annotations

import dataclasses
from typing import Any

from cli import imageexport
from cli.carry import raise_exit
from cli.commands import imageload
from cli.progress import Say
from pinnace.errors import ApiError

# Seconds for a node to list its images.
LISTED_WITHIN = 30.0


def listed(client: Any, node: str, *, timeout: float = LISTED_WITHIN) -> list[Any]:
    """The names of images on a node. Raises ApiError, also when its agent is not connected."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    call = streams_pb2_grpc.StreamsStub(client.channel).ListImages
    found = []
    for frame in client.stream(call, streams_pb2.OpenStream(node=node, listImages={}), timeout=timeout):
        if frame.HasField("exit"):
            raise_exit(frame.exit)
            break
        if frame.HasField("image"):
            found.append(frame.image)
    return found


@dataclasses.dataclass(slots=True)
class Offer:
    """An image: the names that mean it, and the nodes that have it under one of them."""

    names: list[str]
    nodes: list[str]


def copy(client: Any, target: str, sources: list[str], say: Say) -> tuple[list[str], list[str]]:
    """Bring `target` what was loaded on the other nodes; returns the names that it got, and what failed."""
    offers, failed = _offers(client, sources)
    copied: list[str] = []
    for offer in offers:
        reasons = []
        for node in offer.nodes:
            say(f"copying image {offer.names[0]} from {node}")
            try:
                image = dataclasses.replace(imageexport.exported(client, node, offer.names[0]), references=tuple(offer.names))
                copied += imageload.to_node(client, target, [image], say).names
                break
            except ApiError as error:
                reasons.append(error.message)
        else:
            failed.append(f"image {offer.names[0]}: {'; '.join(dict.fromkeys(reasons))}")
    return sorted(copied), failed


def _offers(client: Any, sources: list[str]) -> tuple[list[Offer], list[str]]:
    """What was loaded on the nodes. A name that means different images on different nodes means the first node's."""
    found: dict[str, Offer] = {}
    meaning: dict[str, str] = {}
    failed = []
    for node in sources:
        try:
            images = [image for image in listed(client, node) if image.loaded]
        except ApiError as error:
            failed.append(f"images of {node}: {error.message}")
            continue
        for image in images:
            if meaning.setdefault(image.reference, image.id) != image.id:
                continue
            offer = found.setdefault(image.id, Offer([], []))
            offer.names += [] if image.reference in offer.names else [image.reference]
            offer.nodes += [] if node in offer.nodes else [node]
    return list(found.values()), failed
