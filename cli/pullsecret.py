"""Pull secrets: credentials for registries, as pods name them in imagePullSecrets."""

from __future__ import annotations

from typing import Any

from pinnace import kinds
from pinnace.errors import BadRequest


def add_flag(parser: Any) -> None:
    parser.add_argument("--secret", default="", help="pull secret of the namespace (type kubernetes.io/dockerconfigjson)")


def read(client: Any, name: str) -> bytes:
    """The Docker configuration in a secret; none for no name. Raises NotFound, BadRequest."""
    if not name:
        return b""
    secret = client.get(kinds.SECRET, client.context.namespace, name)
    data: bytes = secret.data.get(".dockerconfigjson", b"")
    if secret.type != "kubernetes.io/dockerconfigjson" or not data:
        raise BadRequest(f'secret "{name}" is not of type kubernetes.io/dockerconfigjson')
    return data
