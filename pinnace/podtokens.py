"""The tokens of its service account that a pod's volumes show: which there are, the request for each, its validity. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pinnace.authentication.v1.authentication_pb2 import TokenRequest


@dataclass(frozen=True, slots=True)
class Validity:
    """When a token was issued, and when it expires, in seconds since the epoch by the issuer's clock."""

    issued: float
    expires: float


def projections(pod: Any) -> Iterator[tuple[str, Any]]:
    """The projections of tokens in a pod's volumes, each with the volume's name."""
    for volume in pod.spec.volumes:
        for part in volume.volumeSource.projected.sources:
            if part.HasField("serviceAccountToken"):
                yield volume.name, part.serviceAccountToken


def key(source: Any) -> str:
    """What tells the tokens of one pod apart: audience and lifetime, of a projection or of a PodToken."""
    return f"{source.expirationSeconds}/{source.audience}"


def request(pod: Any, source: Any) -> TokenRequest:
    """The request for the token of a projection, bound to the pod."""
    meta, made = pod.metadata, TokenRequest()
    made.metadata.name, made.metadata.namespace = pod.spec.serviceAccountName, meta.namespace
    if source.audience:
        made.spec.audiences.append(source.audience)
    made.spec.expirationSeconds = source.expirationSeconds
    ref = made.spec.boundObjectRef
    ref.apiVersion, ref.kind, ref.name, ref.uid = "v1", "Pod", meta.name, meta.uid
    return made


def validity(token: str) -> Validity | None:
    """What a JWT says of itself, which proves nothing; None for what is none."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return Validity(float(claims["iat"]), float(claims["exp"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
