"""Mirrors the Endpoints of Services without a selector into EndpointSlices, which is what nodes read. Root kind: Endpoints.

One slice for each set of ports and address family, with up to MOST addresses of a subset. Slices that are not wanted any more
are used for new ones. Source: kube-controller-manager's endpointslicemirroring.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from google.protobuf.message import Message

from controlplane import events
from controlplane.controllers import podcontrol
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.endpointslice import BY_SERVICE
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds, services
from pinnace.clock import Ids, RandomIds, suffix_of
from pinnace.core.v1.endpoints_pb2 import EndpointAddress, Endpoints, EndpointSubset
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.errors import ApiError, Internal
from pinnace.kinds import Kind
from pinnace.wellknown import (
    ANNOTATION_LAST_APPLIED,
    ANNOTATION_LEADER,
    ANNOTATION_TRIGGER_TIME,
    LABEL_SERVICE_NAME,
    LABEL_SKIP_MIRROR,
    LABEL_SLICE_MANAGED_BY,
)  # fmt: skip

MANAGED_BY = "endpointslicemirroring-controller.k8s.io"
SOURCE = "endpoint-slice-mirroring-controller"
# Addresses of one subset that are mirrored (kube-controller-manager's --mirroring-max-endpoints-per-subset).
MOST = 1000
# Seconds until slices that were rejected are written again; names that are tried for a new one.
RETRY, MOST_NAMES = 10.0, 1_000
_UNMIRRORED = (ANNOTATION_TRIGGER_TIME, ANNOTATION_LAST_APPLIED)


class EndpointSliceMirroring:
    name = "endpointslicemirroring"
    watches: tuple[Kind, ...] = (kinds.SERVICE, kinds.ENDPOINTS, kinds.ENDPOINT_SLICE)

    def __init__(self, ids: Ids | None = None) -> None:
        self._ids = ids or RandomIds()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        namespace, name = event.row.key.split("/")[-2:]
        if event.row.kind is not kinds.ENDPOINT_SLICE:
            if event.row.kind is kinds.ENDPOINTS or _selects(event.old) is not _selects(event.new):
                yield f"{namespace}/{name}"
            return
        for row in (event.old, event.new):
            if row is not None and (labels := row.message.metadata.labels).get(LABEL_SLICE_MANAGED_BY) == MANAGED_BY:
                yield f"{namespace}/{labels.get(LABEL_SERVICE_NAME, '')}"

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.ENDPOINTS, namespace, name)
        existing = _mirrored(tx, namespace, name)
        service = tx.get(kinds.SERVICE, namespace, name)
        wanted: list[EndpointSlice] = []
        if item is not None and service is not None and not service.spec.selector and is_mirrored(item):
            wanted = list(_slices(item))
            _report(tx, item, now)
        try:
            return None if self._write(tx, existing, wanted, now) else Requeue(0.0)
        except ApiError as error:
            if item is not None:
                text = f"Error updating Endpoint Slices for Endpoints {key}: {error}"
                events.record(tx, item, "FailedToUpdateEndpointSlices", text, source=SOURCE, now=now.wall, warning=True)
            return Requeue(RETRY)

    def _write(self, tx: Tx, existing: list[EndpointSlice], wanted: list[EndpointSlice], now: Moment) -> bool:
        """Returns whether all changes fit into the transaction. Raises ApiError."""
        call = verbs.Call(now.wall, self._ids, podcontrol.MANAGER)
        left = _assign(existing, wanted)
        for item in wanted:
            if tx.full:
                return False
            _put(tx, item, call)
        for item in left:
            if tx.full:
                return False
            verbs.delete(tx, kinds.ENDPOINT_SLICE, item.metadata.namespace, item.metadata.name, call)
        return True


def is_mirrored(item: Endpoints) -> bool:
    """Whether Endpoints are mirrored, if their Service has no selector."""
    return item.metadata.labels.get(LABEL_SKIP_MIRROR) != "true" and ANNOTATION_LEADER not in item.metadata.annotations


def _selects(row: StoredObject | None) -> bool | None:
    """Whether a Service has a selector; None for none."""
    return None if row is None else bool(row.message.spec.selector)


def _mirrored(tx: Tx, namespace: str, name: str) -> list[EndpointSlice]:
    """The slices of a Service that this controller has made, read-only."""
    rows = tx.by_index(kinds.ENDPOINT_SLICE, BY_SERVICE, f"{namespace}/{name}")
    return [row.message for row in rows if row.message.metadata.labels.get(LABEL_SLICE_MANAGED_BY) == MANAGED_BY]


def _slices(item: Endpoints) -> Iterator[EndpointSlice]:
    """The wanted slices, without a name: one for each family and set of ports that has addresses."""
    made: dict[tuple[str, bytes], EndpointSlice] = {}
    seen: set[tuple[str, bytes, str, str, str]] = set()
    for subset in item.subsets:
        ports = _ports_key(subset.ports)
        for address, ready in _addresses(subset):
            family = services.family_of(address.ip)
            found = made.setdefault((family, ports), _empty(item, family, subset))
            identity = family, ports, address.ip, address.hostname, address.targetRef.name
            # Subsets with the same ports share a slice.
            if identity not in seen and len(found.endpoints) < MOST:
                seen.add(identity)
                _add(found, address, ready=ready)
    yield from made.values()


def _addresses(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    """Those that are mirrored, each with whether it is ready."""
    every = [(address, True) for address in subset.addresses]
    return (every + [(address, False) for address in subset.notReadyAddresses])[:MOST]


def _ports_key(ports: Iterable[Message]) -> bytes:
    return b"\0".join(sorted(port.SerializeToString(deterministic=True) for port in ports))


def _empty(item: Endpoints, family: str, subset: EndpointSubset) -> EndpointSlice:
    made, meta = EndpointSlice(addressType=family), item.metadata
    made.metadata.namespace = meta.namespace
    made.metadata.labels.update({**meta.labels, LABEL_SERVICE_NAME: meta.name, LABEL_SLICE_MANAGED_BY: MANAGED_BY})
    made.metadata.annotations.update({key: value for key, value in meta.annotations.items() if key not in _UNMIRRORED})
    made.metadata.ownerReferences.add(
        apiVersion=kinds.ENDPOINTS.api_version, kind=kinds.ENDPOINTS.kind, name=meta.name, uid=meta.uid, controller=True,
        blockOwnerDeletion=True,
    )  # fmt: skip
    for port in subset.ports:
        entry = made.ports.add(name=port.name, port=port.port, protocol=port.protocol)
        if port.HasField("appProtocol"):
            entry.appProtocol = port.appProtocol
    return made


def _add(made: EndpointSlice, address: EndpointAddress, *, ready: bool) -> None:
    endpoint = made.endpoints.add(addresses=[str(ipaddress.ip_address(address.ip))])
    endpoint.conditions.ready = ready
    if address.HasField("targetRef"):
        endpoint.targetRef.CopyFrom(address.targetRef)
    if address.HasField("nodeName"):
        endpoint.nodeName = address.nodeName
    if address.hostname:
        endpoint.hostname = address.hostname


def _assign(existing: Iterable[EndpointSlice], wanted: Iterable[EndpointSlice]) -> list[EndpointSlice]:
    """Give wanted slices the names of those that exist: of the same ports, else of any; returns those that are left."""
    left = list(existing)
    for same_ports in (True, False):
        for item in wanted:
            found = None if item.metadata.name else next((old for old in left if _fits(old, item, same_ports)), None)
            if found is not None:
                item.metadata.name = found.metadata.name
                left.remove(found)
    return left


def _fits(old: EndpointSlice, item: EndpointSlice, same_ports: bool) -> bool:
    return old.addressType == item.addressType and (not same_ports or _ports_key(old.ports) == _ports_key(item.ports))


def _put(tx: Tx, item: EndpointSlice, call: verbs.Call) -> None:
    """Create a slice without a name, or give an existing one this content. Raises ApiError."""
    meta = item.metadata
    if not meta.name:
        meta.name = _unused_name(tx, item)
        verbs.create(tx, kinds.ENDPOINT_SLICE, item, call)
        return
    current = tx.require(kinds.ENDPOINT_SLICE, meta.namespace, meta.name)
    for field in ("endpoints", "ports"):
        current.ClearField(field)
        getattr(current, field).extend(getattr(item, field))
    current.metadata.labels.clear()
    current.metadata.labels.update(meta.labels)
    current.metadata.annotations.clear()
    current.metadata.annotations.update(meta.annotations)
    verbs.update(tx, kinds.ENDPOINT_SLICE, current, call)


def _unused_name(tx: Tx, item: EndpointSlice) -> str:
    """It follows from the Endpoints and the slices that exist. Raises Internal."""
    owner = item.metadata.ownerReferences[0]
    for number in range(MOST_NAMES):
        name = f"{owner.name}-{suffix_of(f'{owner.uid}/{item.addressType}/{number}')}"
        if tx.get(kinds.ENDPOINT_SLICE, item.metadata.namespace, name) is None:
            return name
    raise Internal(f"no unused name for an EndpointSlice of Endpoints {item.metadata.namespace}/{owner.name}")


def _report(tx: Tx, item: Endpoints, now: Moment) -> None:
    skipped = sum(max(len(subset.addresses) + len(subset.notReadyAddresses) - MOST, 0) for subset in item.subsets)
    if skipped:
        text = f"A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were "
        text += "skipped"
        events.record(tx, item, "TooManyAddressesToMirror", text, source=SOURCE, now=now.wall, warning=True)
