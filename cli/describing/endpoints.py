"""The endpoints of a port as kubectl shows them: the first three, and how many there are besides.

Source: formatEndpointSlices of kubectl's pkg/describe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pinnace import kinds
from pinnace.wellknown import LABEL_SERVICE_NAME

# Endpoints that are shown.
_SHOWN = 3


def text(client: Any, namespace: str, service: str, port: str) -> str:
    """Addresses behind the port of this name. Raises ApiError."""
    return of_slices(client.list(kinds.ENDPOINT_SLICE, namespace, labels=f"{LABEL_SERVICE_NAME}={service}"), port)


def of_slices(slices: Sequence[Any], port: str) -> str:
    """Addresses in a Service's slices behind the port of this name."""
    if not slices:
        return "<none>"
    shown, ready, more = list[str](), 0, False
    for address, is_ready in _endpoints(slices, port):
        # As kubectl: also for one that is not ready.
        more = more or len(shown) == _SHOWN
        if is_ready:
            ready += 1
            shown += [] if more else [address]
    return f"{','.join(shown)} + {ready - _SHOWN} more..." if more else ",".join(shown)


def _endpoints(slices: Sequence[Any], port: str) -> Iterator[tuple[str, bool]]:
    for item in slices:
        numbers: list[int | None] = [found.port for found in item.ports if found.name == port]
        for number in numbers if item.ports else [None]:
            for endpoint in item.endpoints:
                ready = not endpoint.conditions.HasField("ready") or endpoint.conditions.ready
                yield _address(endpoint.addresses[0], number), ready


def _address(ip: str, port: int | None) -> str:
    if port is None:
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
