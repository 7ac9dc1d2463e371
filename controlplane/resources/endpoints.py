"""Endpoints: their table.

Source: printEndpoints of Kubernetes' printers.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from pinnace import kinds
from pinnace.admission import endpoints, servicewarnings
from pinnace.core.v1.endpoints_pb2 import Endpoints

# Addresses that a cell shows.
_SHOWN = 3


class _Strategy(Strategy[Endpoints]):
    def warnings(self, new: Endpoints, old: Endpoints | None) -> list[str]:
        return servicewarnings.of_endpoints(new)


def _addresses(item: Endpoints) -> Iterator[str]:
    for subset in item.subsets:
        for port in subset.ports:
            yield from (_joined(address.ip, port.port) for address in subset.addresses)
        if not subset.ports:
            yield from (address.ip for address in subset.addresses)


def _joined(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def addresses_text(item: Endpoints) -> str:
    """`10.0.0.1:80,10.0.0.2:80`, the first three."""
    every = list(_addresses(item))
    shown = ",".join(every[:_SHOWN])
    return f"{shown} + {len(every) - _SHOWN} more..." if len(every) > _SHOWN else shown


def _cells(item: Endpoints, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, addresses_text(item) if item.subsets else NONE, age(item, now)


ENDPOINTS: Resource[Endpoints] = Resource(
    kinds.ENDPOINTS,
    rules=endpoints.RULES,
    strategy=_Strategy(),
    creates_on_update=True,
    columns=Columns((NAME, Column("Endpoints", description="Addresses that are ready for traffic."), AGE), _cells),
)
