"""/openapi/v2: all kinds in one document, in JSON or protobuf, for clients that do not know OpenAPI v3.

It is made of the v3 documents when a form of it is asked for, and the last of each form is kept, compressed. Its hash is that
of the v3 documents, so for a client that has it nothing is made.
Source: kube-openapi's pkg/handler.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping

from controlplane.http.compression import Packed
from controlplane.http.messages import JSON, Request, Response
from controlplane.rest import negotiation
from controlplane.rest.bodies import dumps
from controlplane.rest.openapi import gnostic, swagger
from controlplane.rest.openapi.documents import Document, OpenAPI, answer
from pinnace.errors import NotAcceptable

PATH = "/openapi/v2"
_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# What clients accept, and how it is called in the answer: the older name is no valid media type.
_FORMS = {
    JSON: JSON,
    _PROTOBUF: _PROTOBUF,
    _PROTOBUF.replace(".v2.v1", ".v2@v1"): _PROTOBUF,
    "*/*": JSON,
    "application/*": JSON,
}


class SwaggerDocument:
    def __init__(self, documents: OpenAPI) -> None:
        self._documents = documents
        self._made: dict[str, Document] = {}

    async def respond(self, request: Request) -> Response | None:
        """None for another path. Raises NotAcceptable."""
        # 1.5 MB: see rest/documents.py.
        from importlib.metadata import version

        if request.path.rstrip("/") != PATH:
            return None
        media = _form(request.header("accept"))
        parts = await self._documents.documents()
        seed = "\n".join([version("pinnace"), *(f"{path} {part.hash}" for path, part in parts.items())])
        wanted = hashlib.sha256(seed.encode()).hexdigest()[:32].upper()
        kept = self._made.get(media)
        if kept is None or kept.hash != wanted:
            kept = Document(await asyncio.to_thread(_made, parts, media), wanted)
            self._made[media] = kept
        return answer(request, kept, media)


def _made(parts: Mapping[str, Document], media: str) -> Packed:
    document = swagger.merged(json.loads(part.content.content()) for part in parts.values())
    return Packed(dumps(document) if media == JSON else gnostic.encode(document))


def _form(accept: str) -> str:
    """Raises NotAcceptable."""
    for item in negotiation.accepted(accept):
        if item.type in _FORMS:
            return _FORMS[item.type]
    raise NotAcceptable(f"only the following media types are accepted: {JSON}, {_PROTOBUF}")
