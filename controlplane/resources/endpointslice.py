"""EndpointSlices: their generation and their table.

Source: registry/discovery/endpointslice, and printEndpointSlice of Kubernetes' printers.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from pinnace import kinds
from pinnace.admission import endpointslices, servicewarnings
from pinnace.discovery.v1.endpointslice_pb2 import Endpoint, EndpointPort, EndpointSlice
from pinnace.equality import same
from pinnace.wellknown import LABEL_SERVICE_NAME

# The index of slices by `namespace/name` of their Service.
BY_SERVICE = "service"
# Ports and addresses that a cell shows.
_SHOWN = 3
_UNSET = "<unset>"


class _Strategy(Strategy[EndpointSlice]):
    def prepare_for_create(self, new: EndpointSlice) -> None:
        new.metadata.generation = 1
        _drop_topology(new)

    def prepare_for_update(self, new: EndpointSlice, old: EndpointSlice) -> None:
        """There is no spec: the generation counts changes of labels and of everything but the metadata."""
        if list(new.endpoints) != list(old.endpoints):
            _drop_topology(new)
        if not same(_content(new), _content(old)):
            new.metadata.generation = old.metadata.generation + 1

    def warnings(self, new: EndpointSlice, old: EndpointSlice | None) -> list[str]:
        return servicewarnings.of_slice(new, new=old is None)


def _drop_topology(item: EndpointSlice) -> None:
    """The field is of an earlier version, and ignored in this one."""
    for endpoint in item.endpoints:
        endpoint.ClearField("deprecatedTopology")


def _content(item: EndpointSlice) -> EndpointSlice:
    copy = EndpointSlice()
    copy.CopyFrom(item)
    copy.ClearField("metadata")
    copy.metadata.labels.update(item.metadata.labels)
    return copy


def _port(port: EndpointPort) -> str:
    return str(port.port) if port.HasField("port") else port.name if port.HasField("name") else "*"


def _text(items: Sequence[str]) -> str:
    shown = ",".join(items[:_SHOWN])
    return f"{shown} + {len(items) - _SHOWN} more..." if len(items) > _SHOWN else shown or _UNSET


def _addresses(endpoints: Sequence[Endpoint]) -> list[str]:
    return [address for endpoint in endpoints for address in endpoint.addresses]


def _cells(item: EndpointSlice, now: float) -> tuple[Cell, ...]:
    ports = [_port(port) for port in item.ports]
    return item.metadata.name, item.addressType, _text(ports), _text(_addresses(item.endpoints)), age(item, now)


def _by_service(item: EndpointSlice) -> Sequence[str]:
    name = item.metadata.labels.get(LABEL_SERVICE_NAME)
    return (f"{item.metadata.namespace}/{name}",) if name else ()


_COLUMNS = (
    NAME,
    Column("AddressType", description="Family of the addresses."),
    Column("Ports", description="Ports of each endpoint."),
    Column("Endpoints", description="Addresses of the endpoints."),
    AGE,
)
ENDPOINT_SLICE: Resource[EndpointSlice] = Resource(
    kinds.ENDPOINT_SLICE,
    rules=endpointslices.RULES,
    strategy=_Strategy(),
    own_indexes={BY_SERVICE: _by_service},
    columns=Columns(_COLUMNS, _cells),
)
