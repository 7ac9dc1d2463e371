"""Environment variables by which containers find Services, named as kubelet names them. Pure.

Of each Service with an address X_SERVICE_HOST, X_SERVICE_PORT and X_SERVICE_PORT_NAME for each port with a name, and those of
Docker's container links (X_PORT, X_PORT_80_TCP, ...). Source: kubelet's getServiceEnvVarMap and pkg/kubelet/envvars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pinnace import services
from pinnace.core.v1.service_pb2 import Service
from pinnace.ipfamilies import url_host
from pinnace.wellknown import DEFAULT_NAMESPACE

# The Service of the API, which pods of every namespace find.
API = "kubernetes"


def variables(items: Iterable[Service], namespace: str, *, links: bool) -> Mapping[str, str]:
    """Those of a pod in a namespace: of the API, and with `links` of the Services of its namespace. One of its namespace that
    has the API's name hides it."""
    found: dict[str, Service] = {}
    for item in items:
        own = links and item.metadata.namespace == namespace
        is_api = (item.metadata.namespace, item.metadata.name) == (DEFAULT_NAMESPACE, API)
        if services.cluster_ips(item) and item.spec.ports and (own or (is_api and API not in found)):
            found[item.metadata.name] = item
    return dict(pair for name in sorted(found) for pair in _of(found[name]))


def _of(item: Service) -> Iterator[tuple[str, str]]:
    name, address, ports = _name(item.metadata.name), item.spec.clusterIP, item.spec.ports
    yield f"{name}_SERVICE_HOST", address
    yield f"{name}_SERVICE_PORT", str(ports[0].port)
    for port in ports:
        if port.name:
            yield f"{name}_SERVICE_PORT_{_name(port.name)}", str(port.port)
    for index, port in enumerate(ports):
        protocol = port.protocol.lower() or "tcp"
        url, prefix = f"{protocol}://{url_host(address)}:{port.port}", f"{name}_PORT_{port.port}_{protocol.upper()}"
        if not index:
            yield f"{name}_PORT", url
        yield from (
            (prefix, url),
            (f"{prefix}_PROTO", protocol),
            (f"{prefix}_PORT", str(port.port)),
            (f"{prefix}_ADDR", address),
        )


def _name(text: str) -> str:
    return text.replace("-", "_").upper()
