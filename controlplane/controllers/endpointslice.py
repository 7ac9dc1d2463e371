"""Keeps the EndpointSlices of Services that select pods. Root kind: Service.

A change of a pod reaches its Services by an index of their selectors, and costs a comparison of small tuples for each pod of
these Services (`podendpoints`) and one write for each slice whose content changes (`sliceplan`). The controller's own writes
cause no reconciliation. Source: kube-controller-manager's endpointslice_controller.go, k8s.io/endpointslice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from controlplane import events, metrics
from controlplane.controllers import podcontrol, podendpoints, slicecontent
from controlplane.controllers.endpointnodes import EndpointNodes, keys_of_node
from controlplane.controllers.podendpoints import FactsOf, PodFacts
from controlplane.controllers.runner import Moment, Requeue
from controlplane.controllers.sliceplan import Endpoint, Plan, Ports, Slice, Wanted, plan
from controlplane.requests import verbs
from controlplane.resources.endpointslice import BY_SERVICE
from controlplane.store import Event, Tx
from pinnace import codec, kinds
from pinnace.clock import Ids, RandomIds, suffix_of
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.errors import ApiError, Internal
from pinnace.kinds import Kind
from pinnace.wellknown import ANNOTATION_TRIGGER_TIME, LABEL_SERVICE_NAME, LABEL_SLICE_MANAGED_BY

SOURCE = "endpoint-slice-controller"
# Seconds until slices that were rejected are written again.
RETRY = 10.0
# Names that are tried for a new slice; the content of one Service is far less.
MOST_NAMES = 1_000


class SliceFacts(NamedTuple):
    """Of a stored slice. `owners`: uids of the Services that own it."""

    service: str
    managed: bool
    family: str
    owners: frozenset[str]
    deleting: bool
    labels: Mapping[str, str]
    ports: Ports
    endpoints: tuple[Endpoint | None, ...]


def slice_facts(item: EndpointSlice) -> SliceFacts:
    labels = dict(item.metadata.labels)
    owners = (owner.uid for owner in item.metadata.ownerReferences if slicecontent.is_owned(item, owner.uid))
    return SliceFacts(
        labels.get(LABEL_SERVICE_NAME, ""), labels.get(LABEL_SLICE_MANAGED_BY) == slicecontent.MANAGED_BY, item.addressType,
        frozenset(owners), bool(item.metadata.deletionTimestamp.seconds), labels, slicecontent.read_ports(item),
        slicecontent.read_endpoints(item),
    )  # fmt: skip


class EndpointSlices:
    name = "endpointslice"
    watches: tuple[Kind, ...] = (kinds.SERVICE, kinds.POD, kinds.NODE, kinds.ENDPOINT_SLICE)

    def __init__(self, ids: Ids | None = None) -> None:
        self._ids = ids or RandomIds()
        self._pods = FactsOf(podendpoints.facts_of)
        self._slices = FactsOf(slice_facts)
        # Content of slices as it was last written, by key: its event says nothing new.
        self._written: dict[str, tuple[Ports, tuple[Endpoint | None, ...], Mapping[str, str]]] = {}

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        kind = event.row.kind
        if kind is kinds.SERVICE:
            return ("/".join(event.row.key.split("/")[-2:]),)
        if kind is kinds.POD:
            return podendpoints.keys_of_pod(event, view, self._pods)
        if kind is kinds.NODE:
            return keys_of_node(event, view, self._pods)
        return self._keys_of_slice(event)

    def _keys_of_slice(self, event: Event) -> Iterator[str]:
        namespace = event.row.key.split("/")[-2]
        if event.new is None:
            self._slices.forget(event.row)
            self._written.pop(event.row.key, None)
        else:
            found = self._slices(event.new)
            if self._written.get(event.row.key) == (found.ports, found.endpoints, found.labels):
                return
        for row in (event.old, event.new):
            if row is not None and (found := slice_facts(row.message_once)).managed and found.service:
                yield f"{namespace}/{found.service}"

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        service = tx.get(kinds.SERVICE, namespace, name)
        if service is None or not podendpoints.has_controller(service) or podcontrol.namespace_ends(tx, namespace):
            return None
        nodes = EndpointNodes(tx)
        pods = nodes.checked(podendpoints.selected(tx, service, self._pods))
        existing = self._existing(tx, service)
        try:
            for family in slicecontent.families_of(service):
                owned = {
                    name: found for name, found in existing.items()
                    if found.family == family and service.metadata.uid in found.owners
                }  # fmt: skip
                for name in owned:
                    del existing[name]
                changes = plan(_slices(service, owned), _groups(service, pods, family, nodes))
                if not self._write(Target(tx, service, family, now), changes, _trigger(service, pods, owned, changes)):
                    return Requeue(0.0)
            # Those that are left are of another family, or of an earlier Service of this name.
            done = self._delete(Target(tx, service, "", now), sorted(existing))
        except ApiError as error:
            return _failed(tx, service, error, now)
        return None if done else Requeue(0.0)

    def _existing(self, tx: Tx, service: Service) -> dict[str, SliceFacts]:
        """The slices of a Service's name that this controller manages, by name."""
        meta, found = service.metadata, {}
        for row in tx.by_index(kinds.ENDPOINT_SLICE, BY_SERVICE, f"{meta.namespace}/{meta.name}"):
            facts = self._slices(row)
            if facts.managed and not facts.deleting:
                found[row.key.rsplit("/", 1)[1]] = facts
        return found

    def _write(self, target: Target, changes: Plan, trigger: str) -> bool:
        """Returns whether all changes fit into the transaction. Created ones come first, and deleted ones last, so that no
        endpoint is missing in between. Raises ApiError."""
        creates = changes.creates if not target.service.metadata.deletionTimestamp.seconds else []
        for change in (*creates, *changes.updates):
            if target.tx.full:
                return False
            self._put(target, change, trigger)
        return self._delete(target, changes.deletes)

    def _put(self, target: Target, change: Wanted, trigger: str) -> None:
        item = target.found(change.name) if change.name else _new(target)
        labels = slicecontent.labels_of(target.service)
        slicecontent.write(item, change.ports, change.endpoints, labels)
        item.metadata.annotations.pop(ANNOTATION_TRIGGER_TIME, None)
        if trigger:
            item.metadata.annotations[ANNOTATION_TRIGGER_TIME] = trigger
        verb = verbs.update if change.name else verbs.create
        verb(target.tx, kinds.ENDPOINT_SLICE, item, target.call(self._ids))
        key = kinds.ENDPOINT_SLICE.key(item.metadata.namespace, item.metadata.name)
        self._written[key] = change.ports, tuple(change.endpoints), labels
        metrics.endpoint_slice_changes.labels("update" if change.name else "create").inc()

    def _delete(self, target: Target, names: Iterable[str]) -> bool:
        for name in names:
            if target.tx.full:
                return False
            verbs.delete(target.tx, kinds.ENDPOINT_SLICE, target.namespace, name, target.call(self._ids))
            metrics.endpoint_slice_changes.labels("delete").inc()
        return True


class Target(NamedTuple):
    """What slices are written for, and when."""

    tx: Tx
    service: Service
    family: str
    now: Moment

    @property
    def namespace(self) -> str:
        return self.service.metadata.namespace

    def call(self, ids: Ids) -> verbs.Call:
        return verbs.Call(self.now.wall, ids, podcontrol.MANAGER)

    def found(self, name: str) -> EndpointSlice:
        return self.tx.require(kinds.ENDPOINT_SLICE, self.namespace, name)


def _slices(service: Service, owned: Mapping[str, SliceFacts]) -> list[Slice]:
    labels = slicecontent.labels_of(service)
    return [Slice(name, found.ports, found.endpoints, found.labels == labels) for name, found in owned.items()]


def _groups(service: Service, pods: Iterable[PodFacts], family: str, nodes: EndpointNodes) -> dict[Ports, list[Endpoint]]:
    """The endpoints by the ports that they have. The pods of a node that does not exist have none, unless the Service publishes
    pods that are not ready."""
    found: dict[Ports, list[Endpoint]] = {}
    ports = slicecontent.PortsOf(service)
    for pod in pods:
        zone = nodes.zone(pod.node)
        if not podendpoints.has_endpoint(pod, terminating=True) or (zone is None and not service.spec.publishNotReadyAddresses):
            continue
        endpoint = slicecontent.endpoint_of(service, pod, family, zone or "")
        if endpoint is not None:
            found.setdefault(ports(pod), []).append(endpoint)
    return found


def _trigger(service: Service, pods: Iterable[PodFacts], owned: Mapping[str, SliceFacts], changes: Plan) -> str:
    """When the first of the changes happened that the slices follow: of a new Service its creation, else the earliest change of
    readiness among the endpoints that are new or that changed theirs. Empty for other changes.

    Source: util/trigger_time_tracker.go, which remembers what it has seen; this compares with what is stored."""
    if not owned:
        return codec.format_time(service.metadata.creationTimestamp.seconds)
    before = {one.target: one.serving for found in owned.values() for one in found.endpoints if one is not None}
    after = {one.target: one.serving for change in changes.changed for one in change.endpoints}
    moved = {name for name, serving in after.items() if before.get(name) is not serving}
    times = [pod.since for pod in pods if pod.name in moved and pod.since]
    return codec.format_time(min(times)) if times else ""


def _new(target: Target) -> EndpointSlice:
    """A slice with an unused name, which follows from the Service and the slices that exist. Raises Internal."""
    owner, item = target.service.metadata, EndpointSlice(addressType=target.family)
    item.metadata.namespace = owner.namespace
    item.metadata.ownerReferences.add(
        apiVersion=kinds.SERVICE.api_version, kind=kinds.SERVICE.kind, name=owner.name, uid=owner.uid, controller=True,
        blockOwnerDeletion=True,
    )  # fmt: skip
    for number in range(MOST_NAMES):
        name = f"{owner.name}-{suffix_of(f'{owner.uid}/{target.family}/{number}')}"
        if target.tx.get(kinds.ENDPOINT_SLICE, owner.namespace, name) is None:
            item.metadata.name = name
            return item
    raise Internal(f"no unused name for an EndpointSlice of Service {owner.namespace}/{owner.name}")


def _failed(tx: Tx, service: Service, error: ApiError, now: Moment) -> Requeue:
    meta = service.metadata
    text = f"Error updating Endpoint Slices for Service {meta.namespace}/{meta.name}: {error}"
    events.record(
        tx, service, "FailedToUpdateEndpointSlices", text, source=SOURCE, now=now.wall, warning=True, kind=kinds.SERVICE
    )  # fmt: skip
    return Requeue(RETRY)
