"""Keeps the Service default/kubernetes with the addresses of the control planes, and kube-system/kube-dns. Root kind: Service.

Pods reach the API at the Service's address, the first one of the range. Its endpoints are this control plane, as it leads, and
all others whose Lease changes (`controlplane.apileases`). Nodes answer DNS queries at the address of kube-dns, whether or not
that Service is there; it keeps the address from others, and clients look it up. So it has no endpoints, and a selector or ports
of a user would be without effect: it is kept as the first one is.
Source: pkg/controlplane/controller/kubernetesservice and pkg/controlplane/reconcilers of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controlplane import apileases, events
from controlplane.controllers import podcontrol
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.endpointslice import BY_SERVICE
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds, services
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.endpoints_pb2 import Endpoints
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.kinds import Kind
from pinnace.messages import clone
from pinnace.wellknown import (
    ANNOTATION_SOURCE_RANGES,
    DEFAULT_NAMESPACE,
    LABEL_HEADLESS,
    LABEL_SERVICE_NAME,
    LABEL_SERVICE_PROXY_NAME,
    LABEL_SKIP_MIRROR,
    SYSTEM_NAMESPACE,
)

NAME, DNS_NAME = "kubernetes", "kube-dns"
API, DNS = f"{DEFAULT_NAMESPACE}/{NAME}", f"{SYSTEM_NAMESPACE}/{DNS_NAME}"
PORT, PORT_NAME = 443, "https"
_LEASES = kinds.LEASE.key(SYSTEM_NAMESPACE, apileases.PREFIX)
# Seconds after which the Lease of a control plane that does not run any more is deleted, as kube-apiserver does.
EXPIRED = 3600.0
_API_LABELS = {"component": "apiserver", "provider": "kubernetes"}
_DNS_LABELS = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
# Labels with which nodes ignore a Service.
HIDING = (LABEL_SERVICE_PROXY_NAME, LABEL_HEADLESS)

Address = tuple[str, int]


class Seen(NamedTuple):
    """A version of a Lease, and when it was first seen, in watched time."""

    revision: int
    watched: float


class KubernetesService:
    name = "kubernetes-service"
    watches: tuple[Kind, ...] = (kinds.NAMESPACE, kinds.SERVICE, kinds.ENDPOINTS, kinds.ENDPOINT_SLICE, kinds.LEASE)

    def __init__(self, own: Address | None, *, api: str, dns: str, ids: Ids | None = None) -> None:
        """`own`: where pods reach this control plane; None: not at all. `api`, `dns`: addresses of the two Services."""
        self._own = own
        self._addresses = {API: api, DNS: dns}
        self._ids = ids or RandomIds()
        self._seen: dict[str, Seen] = {}
        # Leases that did not change for too long.
        self._late: set[str] = set()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        row = event.row
        namespace, name = row.key.split("/")[-2:]
        if row.kind is kinds.NAMESPACE:
            return [key for key in (API, DNS) if key.startswith(f"{name}/")]
        if row.kind is kinds.LEASE:
            return self._keys_of_lease(event, name, watched) if row.key.startswith(_LEASES) else ()
        if row.kind is kinds.ENDPOINT_SLICE:
            # Also before: one that a user takes its label from is not the Service's any more.
            rows = [item for item in (event.old, event.new) if item is not None]
            of_api = any(item.message.metadata.labels.get(LABEL_SERVICE_NAME) == NAME for item in rows)
            return (API,) if of_api and namespace == DEFAULT_NAMESPACE else ()
        key = f"{namespace}/{name}"
        return (key,) if key == API or (key == DNS and row.kind is kinds.SERVICE) else ()

    def _keys_of_lease(self, event: Event, name: str, watched: float) -> Iterable[str]:
        if event.new is None:
            self._seen.pop(name, None)
        else:
            self._note(name, event.new, watched)
        moved = event.old is None or event.new is None or _address(event.old) != _address(event.new)
        # A renewal changes nothing but when to reconcile again, which the pending reconciliation finds out itself.
        return (API,) if moved or name in self._late else ()

    def _note(self, name: str, row: StoredObject, watched: float) -> None:
        known = self._seen.get(name)
        if known is None or known.revision < row.revision:
            self._seen[name] = Seen(row.revision, watched)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        if podcontrol.namespace_ends(tx, namespace):
            return None
        call = verbs.Call(now.wall, self._ids, self.name)
        if not self._keep_service(tx, namespace, name, call):
            # It has another address, and is made anew.
            return Requeue(0.0)
        if key != API:
            return None
        addresses, wait = self._living(tx, now)
        addresses = self._reachable(tx, addresses, now)
        # Without any, something is wrong with the Leases: the last ones may still work.
        if addresses:
            _keep_endpoints(tx, addresses, call)
            _keep_slices(tx, _slices(addresses), call)
        return Requeue(wait) if wait is not None else None

    def _keep_service(self, tx: Tx, namespace: str, name: str, call: verbs.Call) -> bool:
        """Returns False for a Service that is deleted because of its address."""
        address = self._addresses[f"{namespace}/{name}"]
        found = tx.get(kinds.SERVICE, namespace, name)
        wanted = _api(address, self._own) if name == NAME else _dns(address)
        if found is None:
            verbs.create(tx, kinds.SERVICE, wanted, call)
        elif found.spec.clusterIP != address:
            verbs.delete(tx, kinds.SERVICE, namespace, name, call)
            return bool(found.metadata.deletionTimestamp.seconds)
        elif _is_changed(found, wanted):
            _restore(found, wanted)
            verbs.update(tx, kinds.SERVICE, found, call)
        return True

    def _living(self, tx: Tx, now: Moment) -> tuple[list[Address], float | None]:
        """The addresses of the control planes, in order, and seconds until one of them may be out of date."""
        found, waits = {self._own} if self._own is not None else set(), list[float]()
        for row in list(tx.list_untracked(kinds.LEASE, SYSTEM_NAMESPACE)):
            if not row.key.startswith(_LEASES):
                continue
            name, address = row.key.rsplit("/", 1)[1], _address(row)
            # The transaction may be ahead of the watch.
            self._note(name, row, now.watched)
            late = now.watched - self._seen[name].watched
            if late <= apileases.DURATION:
                self._late.discard(name)
                waits.append(apileases.DURATION - late + 0.05)
                found |= {address} if address is not None else set()
            else:
                self._late.add(name)
                if late > EXPIRED:
                    tx.delete(kinds.LEASE, SYSTEM_NAMESPACE, name)
                waits.append(EXPIRED - late + 0.05)
        return sorted(found), min((wait for wait in waits if wait > 0), default=None)

    def _reachable(self, tx: Tx, addresses: list[Address], now: Moment) -> list[Address]:
        """The addresses of the Service's IP family. An event names the others; it counts no reconciliations."""
        family = services.family_of(self._addresses[API])
        others = [item for item in addresses if services.family_of(item[0]) != family]
        service = tx.get(kinds.SERVICE, DEFAULT_NAMESPACE, NAME)
        if others and service is not None:
            text = f"Not {family}, left out of the endpoints: {', '.join(map(apileases.text_of, others))}; change --advertise"
            events.record(tx, service, "AddressFamilyMismatch", text, source=self.name, now=now.wall, warning=True, once=True)
        return [item for item in addresses if item not in others]


def _address(row: StoredObject) -> Address | None:
    return apileases.parse(row.message.spec.holderIdentity)


def _api(address: str, own: Address | None) -> Service:
    made = _service(API, _API_LABELS, address)
    port = made.spec.ports.add(name=PORT_NAME, port=PORT, protocol="TCP")
    port.targetPort.intVal = own[1] if own is not None else PORT
    return made


def _dns(address: str) -> Service:
    made = _service(DNS, _DNS_LABELS, address)
    for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP")):
        made.spec.ports.add(name=name, port=53, protocol=protocol).targetPort.intVal = 53
    return made


def _service(key: str, labels: Mapping[str, str], address: str) -> Service:
    made = Service()
    made.metadata.namespace, made.metadata.name = key.split("/")
    made.metadata.labels.update(labels)
    made.spec.clusterIP, made.spec.ipFamilyPolicy, made.spec.type = address, services.SINGLE_STACK, services.CLUSTER_IP
    made.spec.sessionAffinity = "None"
    return made


def _restore(found: Service, wanted: Service) -> None:
    """All fields but its addresses: some are invalid with others, such as ranges of clients without a load balancer."""
    before = clone(found.spec)
    found.spec.CopyFrom(wanted.spec)
    found.spec.clusterIPs.extend(before.clusterIPs)
    found.spec.ipFamilies.extend(before.ipFamilies)
    found.spec.ipFamilyPolicy = before.ipFamilyPolicy or services.SINGLE_STACK
    found.metadata.annotations.pop(ANNOTATION_SOURCE_RANGES, None)
    for label in HIDING:
        found.metadata.labels.pop(label, None)


def _is_changed(found: Service, wanted: Service) -> bool:
    """Whether a Service differs in what decides where its traffic goes, or nodes ignore it: with policy Local none has an
    endpoint, as those of the API are of no node. Ports that several control planes have differ by
    themselves: the endpoints have the right ones."""
    spec = found.spec
    if spec.type != services.CLUSTER_IP or spec.selector or spec.externalIPs or spec.sessionAffinity != "None":
        return True
    if spec.internalTrafficPolicy == services.LOCAL or any(label in found.metadata.labels for label in HIDING):
        return True
    return [(port.name, port.port, port.protocol) for port in found.spec.ports] != [
        (port.name, port.port, port.protocol) for port in wanted.spec.ports
    ]


def _keep_endpoints(tx: Tx, addresses: Iterable[Address], call: verbs.Call) -> None:
    found = tx.get(kinds.ENDPOINTS, DEFAULT_NAMESPACE, NAME)
    wanted = Endpoints() if found is None else found
    wanted.metadata.namespace, wanted.metadata.name = DEFAULT_NAMESPACE, NAME
    wanted.metadata.labels.clear()
    wanted.metadata.labels[LABEL_SKIP_MIRROR] = "true"
    wanted.ClearField("subsets")
    for port, ips in _by_port(addresses).items():
        subset = wanted.subsets.add()
        subset.ports.add(name=PORT_NAME, port=port, protocol="TCP")
        for ip in ips:
            subset.addresses.add(ip=ip)
    verb = verbs.create if found is None else verbs.update
    verb(tx, kinds.ENDPOINTS, wanted, call)


def _by_port(addresses: Iterable[Address]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for ip, port in addresses:
        found.setdefault(port, []).append(ip)
    return found


def _slices(addresses: Iterable[Address]) -> list[EndpointSlice]:
    """One slice for each family and port; the first one has the Service's name."""
    made: dict[tuple[str, int], EndpointSlice] = {}
    for ip, port in addresses:
        family = services.family_of(ip)
        if (family, port) not in made:
            item = made[family, port] = EndpointSlice(addressType=family)
            item.metadata.namespace = DEFAULT_NAMESPACE
            item.metadata.name = NAME if len(made) == 1 else f"{NAME}-{family.lower()}-{port}"
            item.metadata.labels[LABEL_SERVICE_NAME] = NAME
            item.ports.add(name=PORT_NAME, port=port, protocol="TCP")
        made[family, port].endpoints.add(addresses=[ip]).conditions.ready = True
    return list(made.values())


def _keep_slices(tx: Tx, wanted: Iterable[EndpointSlice], call: verbs.Call) -> None:
    """Write these slices of the API's Service, and delete all others."""
    left = {row.key.rsplit("/", 1)[1] for row in tx.by_index(kinds.ENDPOINT_SLICE, BY_SERVICE, API)}
    for item in wanted:
        meta = item.metadata
        left.discard(meta.name)
        found = tx.get(kinds.ENDPOINT_SLICE, meta.namespace, meta.name)
        if found is not None and found.addressType == item.addressType:
            item.metadata.CopyFrom(found.metadata)
            item.metadata.labels.clear()
            item.metadata.labels[LABEL_SERVICE_NAME] = NAME
            verbs.update(tx, kinds.ENDPOINT_SLICE, item, call)
            continue
        if found is not None:
            # The family of a slice does not change.
            verbs.delete(tx, kinds.ENDPOINT_SLICE, meta.namespace, meta.name, call)
        verbs.create(tx, kinds.ENDPOINT_SLICE, item, call)
    for name in sorted(left):
        verbs.delete(tx, kinds.ENDPOINT_SLICE, DEFAULT_NAMESPACE, name, call)
