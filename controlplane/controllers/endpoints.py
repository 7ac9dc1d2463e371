"""Keeps the Endpoints of Services that select pods, for clients that do not know EndpointSlices. Root kind: Service.

The object of a Service has up to 1,000 addresses and is always written as a whole, so that of a large Service follows its pods
only every SECOND_FOR addresses a second. Source: kube-controller-manager's endpoints_controller.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from controlplane import events
from controlplane.controllers import endpointsubsets, podcontrol, podendpoints, slicecontent
from controlplane.controllers.endpointnodes import EndpointNodes, keys_of_node
from controlplane.controllers.endpointsubsets import Address, Subset
from controlplane.controllers.podendpoints import FactsOf, PodFacts
from controlplane.controllers.runner import Moment, Requeue
from controlplane.controllers.sliceplan import Port
from controlplane.requests import verbs
from controlplane.store import Event, StoredObject, Tx
from pinnace import codec, kinds, services
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.endpoints_pb2 import Endpoints
from pinnace.core.v1.service_pb2 import Service
from pinnace.errors import ApiError
from pinnace.kinds import Kind
from pinnace.wellknown import ANNOTATION_OVER_CAPACITY, ANNOTATION_TRIGGER_TIME, LABEL_ENDPOINTS_MANAGED_BY, LABEL_HEADLESS

SOURCE = "endpoint-controller"
# Seconds until an object that was rejected is written again.
RETRY = 10.0
# Addresses of an object that is written at once, and those for which a larger one waits a second after it was written.
SMALL, SECOND_FOR = 100, 1000


class EndpointsController:
    name = "endpoints"
    watches: tuple[Kind, ...] = (kinds.SERVICE, kinds.POD, kinds.NODE, kinds.ENDPOINTS)

    def __init__(self, ids: Ids | None = None) -> None:
        self._ids = ids or RandomIds()
        self._pods = FactsOf(podendpoints.facts_of)
        # Digests of objects as they were last written, and when a large one was (watched time), by key of the Service.
        self._written: dict[str, bytes] = {}
        self._last: dict[str, float] = {}

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        kind = event.row.kind
        if kind is kinds.POD:
            return podendpoints.keys_of_pod(event, view, self._pods)
        if kind is kinds.NODE:
            return keys_of_node(event, view, self._pods)
        key = "/".join(event.row.key.split("/")[-2:])
        return (key,) if kind is kinds.SERVICE or self._concerns(key, event.new, view) else ()

    def _concerns(self, key: str, endpoints: StoredObject | None, view: Tx) -> bool:
        """Whether a change of Endpoints is one to correct: of a Service with a selector, or left over from one."""
        if endpoints is not None and self._written.get(key) == _digest(endpoints.message_once):
            return False
        row = view.get_untracked(kinds.SERVICE, *key.split("/"))
        if row is not None:
            return podendpoints.has_controller(row.message)
        return endpoints is not None and endpoints.message.metadata.labels.get(LABEL_ENDPOINTS_MANAGED_BY) == SOURCE

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        service = tx.get(kinds.SERVICE, namespace, name)
        current = tx.get(kinds.ENDPOINTS, namespace, name)
        if service is None:
            self._written.pop(key, None)
            self._last.pop(key, None)
            if current is not None:
                verbs.delete(tx, kinds.ENDPOINTS, namespace, name, self._call(now))
            return None
        if not podendpoints.has_controller(service) or podcontrol.namespace_ends(tx, namespace):
            return None
        return self._sync(tx, service, current, now)

    def _call(self, now: Moment) -> verbs.Call:
        return verbs.Call(now.wall, self._ids, podcontrol.MANAGER)

    def _sync(self, tx: Tx, service: Service, current: Endpoints | None, now: Moment) -> Requeue | None:
        key = f"{service.metadata.namespace}/{service.metadata.name}"
        pods = EndpointNodes(tx).checked(podendpoints.selected(tx, service, self._pods))
        packed = endpointsubsets.pack(_addresses(service, pods))
        wanted = _wanted(service, current, packed)
        if current is not None and _content(wanted) == _content(current):
            return None
        size = sum(subset.size for subset in packed)
        due = self._last.get(key, float("-inf")) + size / SECOND_FOR
        if size > SMALL and now.watched < due:
            return Requeue(due - now.watched)
        _set_trigger(wanted, service, current, pods)
        self._last[key] = now.watched
        return self._put(tx, key, wanted, now, exists=current is not None)

    def _put(self, tx: Tx, key: str, wanted: Endpoints, now: Moment, *, exists: bool) -> Requeue | None:
        meta = wanted.metadata
        try:
            verb = verbs.update if exists else verbs.create
            verb(tx, kinds.ENDPOINTS, wanted, self._call(now))
            self._written[key] = _digest(wanted)
            return None
        except ApiError as error:
            reason = "FailedToUpdateEndpoint" if exists else "FailedToCreateEndpoint"
            what = "Failed to update endpoint" if exists else "Failed to create endpoint for service"
            text = f"{what} {meta.namespace}/{meta.name}: {error}"
            events.record(tx, wanted, reason, text, source=SOURCE, now=now.wall, warning=True)
            return Requeue(RETRY)


def _addresses(service: Service, pods: Iterable[PodFacts]) -> Iterator[tuple[Address, bool, tuple[Port, ...]]]:
    """Of the Service's first family. A Service with ports has no address of a pod that has none of them."""
    family, unready_too = slicecontent.families_of(service)[0], service.spec.publishNotReadyAddresses
    ports_of = slicecontent.PortsOf(service)
    for pod in pods:
        addresses = podendpoints.addresses_of(pod, family)
        ports = ports_of(pod)
        if not addresses or not podendpoints.has_endpoint(pod, terminating=unready_too):
            continue
        if ports or (not service.spec.ports and services.is_headless(service)):
            address = Address(addresses[0], pod.uid, pod.name, pod.node, podendpoints.hostname_of(pod, service))
            yield address, pod.ready or unready_too, ports


def _wanted(service: Service, current: Endpoints | None, packed: list[Subset]) -> Endpoints:
    """The object as it should be, without a new trigger time."""
    wanted = Endpoints()
    if current is not None:
        wanted.CopyFrom(current)
    meta = wanted.metadata
    meta.name, meta.namespace = service.metadata.name, service.metadata.namespace
    meta.labels.clear()
    meta.labels.update(service.metadata.labels)
    meta.labels[LABEL_ENDPOINTS_MANAGED_BY] = SOURCE
    meta.labels.pop(LABEL_HEADLESS, None)
    if not services.cluster_ips(service):
        meta.labels[LABEL_HEADLESS] = ""
    truncated = endpointsubsets.truncate(packed)
    endpointsubsets.write(wanted, truncated)
    meta.annotations.pop(ANNOTATION_OVER_CAPACITY, None)
    if truncated is not packed:
        meta.annotations[ANNOTATION_OVER_CAPACITY] = "truncated"
    return wanted


def _content(item: Endpoints) -> tuple[object, ...]:
    """All that the controller decides, but for the trigger time."""
    annotations = item.metadata.annotations
    return list(item.subsets), dict(item.metadata.labels), annotations.get(ANNOTATION_OVER_CAPACITY)


def _digest(item: Endpoints) -> bytes:
    copy = Endpoints(subsets=item.subsets)
    copy.metadata.labels.update(item.metadata.labels)
    copy.metadata.annotations.update(item.metadata.annotations)
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).digest()


def _set_trigger(wanted: Endpoints, service: Service, current: Endpoints | None, pods: Iterable[PodFacts]) -> None:
    """As `endpointslice._trigger`: the earliest change of readiness among the addresses that moved."""
    wanted.metadata.annotations.pop(ANNOTATION_TRIGGER_TIME, None)
    if current is None:
        time = codec.format_time(service.metadata.creationTimestamp.seconds)
        wanted.metadata.annotations[ANNOTATION_TRIGGER_TIME] = time
        return
    before, after = _readiness(current), _readiness(wanted)
    times = [pod.since for pod in pods if pod.since and before.get(pod.name) is not after.get(pod.name) is not None]
    if times:
        wanted.metadata.annotations[ANNOTATION_TRIGGER_TIME] = codec.format_time(min(times))


def _readiness(item: Endpoints) -> dict[str, bool]:
    """Whether the address of each pod is ready."""
    found: dict[str, bool] = {}
    for subset in item.subsets:
        found |= {address.targetRef.name: True for address in subset.addresses}
        found |= {address.targetRef.name: False for address in subset.notReadyAddresses}
    return found
