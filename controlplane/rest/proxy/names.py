"""Names of proxied objects: NAME, NAME:PORT or SCHEME:NAME:PORT. Pure.

Source: SplitSchemeNamePort of k8s.io/apimachinery (pkg/util/net), and ResourceLocation of pods (pkg/registry/core/pod).
"""

from __future__ import annotations

from typing import NamedTuple

from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import BadRequest

_SCHEMES = ("", "http", "https")
_DEFAULT_PORTS = {"": 80, "http": 80, "https": 443}


class ProxiedName(NamedTuple):
    """`scheme` and `port` are empty where the client does not say."""

    scheme: str
    name: str
    port: str


def split(text: str, what: str) -> ProxiedName:
    """`what` is the kind in messages. Raises BadRequest."""
    parts = text.split(":")
    scheme = parts.pop(0) if len(parts) == 3 else ""
    name, port = (*parts, "")[:2]
    if len(parts) > 2 or not name or scheme not in _SCHEMES:
        raise BadRequest(f'invalid {what} request "{text[:300]}": it is NAME, NAME:PORT or SCHEME:NAME:PORT')
    return ProxiedName(scheme, name, port)


def port_of(pod: Pod, wanted: ProxiedName) -> int:
    """The port that is asked for, the first that a container declares, or the scheme's.

    Raises BadRequest for what is no port, and for a port of the host that the pod does not declare: a pod in the host's network
    namespace is not to lead to what else listens there."""
    declared = [port.containerPort for container in pod.spec.containers for port in container.ports]
    default = declared[0] if declared else _DEFAULT_PORTS[wanted.scheme]
    port = _number(wanted.port) if wanted.port else default
    if pod.spec.hostNetwork and port not in declared:
        raise BadRequest(f"pod {wanted.name} is in the host's network: no container of it declares port {port}")
    return port


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 1 << 16):
        raise BadRequest(f'"{text[:40]}" is not a port')
    return int(text)
