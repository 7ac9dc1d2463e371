"""The tokens of its service account that a pod's volumes show: which there are, and the request for each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace.authentication.v1.authentication_pb2 import TokenRequest


def sources(pod: Any) -> Iterator[Any]:
    """The projections of tokens in a pod's volumes."""
    for volume in pod.spec.volumes:
        for part in volume.volumeSource.projected.sources:
            if part.HasField("serviceAccountToken"):
                yield part.serviceAccountToken


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
