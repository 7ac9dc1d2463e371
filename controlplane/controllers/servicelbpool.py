"""Gives Services of type LoadBalancer an address of the pool, and each address a node that answers for it. Root kind: Service.

An address is given in the transaction that writes it into the status; this controller is the only one that gives any, so it
remembers those that the store does not show yet, and no two Services get the same. The node is an annotation of the Service,
which agents follow. Services with a loadBalancerClass belong to others.
Source: the service controller of k8s.io/cloud-provider, for finalizer, events and messages.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane import events
from controlplane.controllers import announcer, podcontrol
from controlplane.controllers.addresspool import NODE, AddressPool, Unavailable
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.endpointslice import BY_SERVICE
from controlplane.resources.node import STATED
from controlplane.resources.service import BY_LOAD_BALANCER, EVERY, PARTIAL, PENDING
from controlplane.store import Event, StoredObject, Tx
from pinnace import formats, kinds, services
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.service_pb2 import Service
from pinnace.kinds import Kind
from pinnace.wellknown import ANNOTATION_ANNOUNCED_BY, FINALIZER_LOAD_BALANCER, LABEL_SERVICE_NAME

SOURCE = "service-controller"
# Seconds until a Service for which there is no address is tried again, unless one is released before.
RETRY = 60.0
VIP = "VIP"


def wants(service: Service) -> bool:
    """Whether a Service is to have an address of the pool."""
    return service.spec.type == services.LOAD_BALANCER and not service.spec.HasField("loadBalancerClass")


class ServiceLoadBalancers:
    name = "service-lb-pool"
    watches: tuple[Kind, ...] = (kinds.SERVICE, kinds.NODE, kinds.ENDPOINT_SLICE)

    def __init__(self, pool: AddressPool, ids: Ids | None = None) -> None:
        self._pool = pool
        self._ids = ids or RandomIds()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        kind = event.row.kind
        if kind is kinds.SERVICE:
            return self._keys_of_service(event, view)
        if kind is kinds.NODE:
            able = [row is not None and announcer.is_able(row.message) for row in (event.old, event.new)]
            return _keys(view, EVERY) if able[0] is not able[1] else ()
        name = event.row.message.metadata.labels.get(LABEL_SERVICE_NAME, "")
        namespace = event.row.key.split("/")[-2]
        row = view.get_untracked(kinds.SERVICE, namespace, name) if name else None
        is_local = row is not None and wants(row.message) and announcer.wants_local(row.message)
        return (f"{namespace}/{name}",) if is_local else ()

    def _keys_of_service(self, event: Event, view: Tx) -> list[str]:
        before, after = (set() if row is None else {*_addresses(row.message)} for row in (event.old, event.new))
        # An address that is free again is for one that waits.
        waiting = self._waiting(view) if before - after else []
        concerned = any(
            row is not None and (wants(row.message) or _has_finalizer(row.message)) for row in (event.old, event.new)
        )
        return [_key(event.row), *waiting] if concerned else waiting

    def _waiting(self, view: Tx) -> list[str]:
        return [*_keys(view, PENDING), *(_keys(view, PARTIAL) if len(self._pool.families) > 1 else ())]

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        service = tx.get(kinds.SERVICE, namespace, name)
        if service is None:
            self._pool.release(key)
            return None
        if not wants(service) or service.metadata.deletionTimestamp.seconds:
            self._release(tx, service, now)
            return None
        if not self._pool:
            return None
        try:
            addresses, complete = self._take(tx, service)
        except Unavailable as error:
            text = f"Error syncing load balancer: failed to ensure load balancer: {error}"
            self._event(tx, service, "SyncLoadBalancerFailed", text, now, warning=True)
            # As in Kubernetes it keeps the address that it has; not one that the pool or the Service's families do not have.
            families = service.spec.ipFamilies or [services.IPV4]
            kept = [text for text in _addresses(service) if self._pool.holds(text) and services.family_of(text) in families]
            # One that was found before another was missing is free for others.
            self._pool.release(key, kept=kept)
            self._write(tx, service, kept, self._node(tx, service) if kept else "", now)
            return Requeue(RETRY)
        node = self._node(tx, service)
        self._ensure(tx, service, addresses, node, now)
        return None if complete else Requeue(RETRY)

    def _take(self, tx: Tx, service: Service) -> tuple[list[str], bool]:
        """An address of each family of the Service that the pool has, and whether that is all: one that only prefers dual stack
        does without a family of which none is free. Raises Unavailable."""
        key = f"{service.metadata.namespace}/{service.metadata.name}"
        stated = service.spec.loadBalancerIP
        # In the one form in which the status and the index have addresses.
        wanted = [formats.usual_ip(text) for text in ([stated] if stated else _addresses(service))]

        def holder(text: str) -> str:
            # What a Service has it keeps, whatever a node claims.
            nodes = () if text in _addresses(service) else tx.by_index(kinds.NODE, STATED, text)
            rows = tx.by_index(kinds.SERVICE, BY_LOAD_BALANCER, text)
            others = (*(f"{NODE}{row.message.metadata.name}" for row in nodes), *map(_key, rows))
            return next((other for other in others if other != key), "")

        families = [family for family in service.spec.ipFamilies or [services.IPV4] if family in self._pool.families]
        if not families:
            raise Unavailable(f"the pool has no {' or '.join(service.spec.ipFamilies)} address")
        found, missing = [], list[Unavailable]()
        for family in families:
            own = next((text for text in wanted if services.family_of(text) == family), "")
            # An address that it has is lost to an earlier owner, or when the pool changes; one that a user wants is an error.
            if own and not stated and not (self._pool.holds(own) and not holder(own)):
                own = ""
            try:
                found.append(self._pool.take(key, family, own, holder))
            except Unavailable as error:
                if (own and stated) or service.spec.ipFamilyPolicy != services.PREFER_DUAL_STACK:
                    raise
                missing.append(error)
        if not found:
            raise missing[0]
        self._pool.release(key, kept=found)
        return found, not missing

    def _node(self, tx: Tx, service: Service) -> str:
        meta = service.metadata
        rows = [row for row in tx.list_untracked(kinds.NODE) if announcer.is_able(row.message)]
        local = None
        if announcer.wants_local(service):
            slices = tx.by_index(kinds.ENDPOINT_SLICE, BY_SERVICE, f"{meta.namespace}/{meta.name}")
            local = announcer.nodes_with_endpoints(row.message for row in slices)
        able = (row.key.rsplit("/", 1)[1] for row in rows)
        return announcer.choose(service, able, local, meta.annotations.get(ANNOTATION_ANNOUNCED_BY, ""))

    def _ensure(self, tx: Tx, service: Service, addresses: list[str], node: str, now: Moment) -> None:
        before = service.metadata.annotations.get(ANNOTATION_ANNOUNCED_BY, "")
        is_new = [entry.ip for entry in service.status.loadBalancer.ingress] != addresses or not _has_finalizer(service)
        if is_new:
            self._event(tx, service, "EnsuringLoadBalancer", "Ensuring load balancer", now)
        if not node and (is_new or before):
            text = "There are no available nodes for LoadBalancer"
            self._event(tx, service, "UnAvailableLoadBalancer", text, now, warning=True)
        self._write(tx, service, addresses, node, now)
        if is_new:
            self._event(tx, service, "EnsuredLoadBalancer", "Ensured load balancer", now)
        elif node and node != before:
            self._event(tx, service, "UpdatedLoadBalancer", "Updated load balancer with new hosts", now)

    def _release(self, tx: Tx, service: Service, now: Moment) -> None:
        """Of a Service that is deleted, or of another type; the finalizer goes in the same transaction."""
        self._pool.release(f"{service.metadata.namespace}/{service.metadata.name}")
        if not _has_finalizer(service):
            return
        self._event(tx, service, "DeletingLoadBalancer", "Deleting load balancer", now)
        self._event(tx, service, "DeletedLoadBalancer", "Deleted load balancer", now)
        self._write(tx, service, [], "", now, finalizer=False)

    def _write(
        self, tx: Tx, service: Service, addresses: list[str], node: str, now: Moment, *, finalizer: bool = True
    ) -> None:  # fmt: skip
        """Status first: without its finalizer a Service that is being deleted is gone."""
        call = verbs.Call(now.wall, self._ids, podcontrol.MANAGER)
        if [entry.ip for entry in service.status.loadBalancer.ingress] != addresses:
            service.status.loadBalancer.ClearField("ingress")
            for address in addresses:
                service.status.loadBalancer.ingress.add(ip=address, ipMode=VIP)
            verbs.update_status(tx, kinds.SERVICE, service, call)
            service = tx.require(kinds.SERVICE, service.metadata.namespace, service.metadata.name)
        meta = service.metadata
        kept = [name for name in meta.finalizers if name != FINALIZER_LOAD_BALANCER]
        meta.finalizers[:] = [*kept, FINALIZER_LOAD_BALANCER] if finalizer else kept
        meta.annotations.pop(ANNOTATION_ANNOUNCED_BY, None)
        if node:
            meta.annotations[ANNOTATION_ANNOUNCED_BY] = node
        verbs.update(tx, kinds.SERVICE, service, call)

    def _event(self, tx: Tx, service: Service, reason: str, text: str, now: Moment, *, warning: bool = False) -> None:
        events.record(tx, service, reason, text, source=SOURCE, now=now.wall, warning=warning, kind=kinds.SERVICE)


def _key(row: StoredObject) -> str:
    return "/".join(row.key.split("/")[-2:])


def _keys(view: Tx, value: str) -> Iterable[str]:
    return [_key(row) for row in view.by_index(kinds.SERVICE, BY_LOAD_BALANCER, value)]


def _addresses(service: Service) -> list[str]:
    return [entry.ip for entry in service.status.loadBalancer.ingress if entry.ip]


def _has_finalizer(service: Service) -> bool:
    return FINALIZER_LOAD_BALANCER in service.metadata.finalizers
