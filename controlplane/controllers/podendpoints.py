"""Pods as the controllers of endpoints see them, and which pods and Services belong together.

The facts of a pod are a small tuple that is worked out once for each version of it: a reconciliation of a Service with 1,000
pods compares 1,000 tuples and parses only the pods that changed.
Source: k8s.io/endpointslice/util/controller_utils.go; FindPort of k8s.io/endpointslice/utils.go.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from controlplane import conditions
from controlplane.resources.pod import BY_LABEL
from controlplane.resources.service import BY_SELECTOR
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds, services
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.core.v1.service_pb2 import Service, ServicePort

T = TypeVar("T")
ENDED = ("Succeeded", "Failed")
# Objects of which facts are kept; beyond it the oldest are worked out anew. A pod's take about half a kilobyte.
MOST_FACTS = 50_000
# `IntOrString.type` of a name.
_NAMED = 1


class PodFacts(NamedTuple):
    """Of a pod, all that its endpoints are made of. `since`: when its readiness last changed, in seconds since the epoch."""

    name: str
    uid: str
    node: str
    # In canonical form, IPv4 and IPv6.
    addresses: tuple[str, ...]
    ready: bool
    since: int
    terminating: bool
    ended: bool
    hostname: str
    subdomain: str
    # Name, protocol and number of the named ports of containers, in the order in which a name is looked up.
    ports: tuple[tuple[str, str, int], ...]
    labels: Mapping[str, str]
    host_network: bool


class FactsOf(Generic[T]):
    """What `function` makes of stored objects, kept by their revision. Pure."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self._kept: dict[str, tuple[int, T]] = {}

    def __call__(self, row: StoredObject) -> T:
        known = self._kept.get(row.key)
        if known is not None and known[0] == row.revision:
            return known[1]
        facts = self._function(row.message_once)
        # A newer version may be there already, while the event of an older one is looked at.
        if known is None or known[0] < row.revision:
            self._kept[row.key] = row.revision, facts
            if len(self._kept) > MOST_FACTS:
                del self._kept[next(iter(self._kept))]
        return facts

    def forget(self, row: StoredObject) -> None:
        self._kept.pop(row.key, None)


def facts_of(pod: Pod) -> PodFacts:
    meta, spec = pod.metadata, pod.spec
    ready = conditions.find(pod.status, "Ready")
    return PodFacts(
        meta.name, meta.uid, sys.intern(spec.nodeName), _addresses(pod), ready is not None and ready.status == "True",
        int(ready.lastTransitionTime.seconds) if ready is not None else 0, bool(meta.deletionTimestamp.seconds),
        pod.status.phase in ENDED, spec.hostname, spec.subdomain, tuple(_named_ports(pod)),
        {sys.intern(key): sys.intern(value) for key, value in meta.labels.items()}, spec.hostNetwork,
    )  # fmt: skip


def _addresses(pod: Pod) -> tuple[str, ...]:
    texts = [entry.ip for entry in pod.status.podIPs] or ([pod.status.podIP] if pod.status.podIP else [])
    return tuple(str(ipaddress.ip_address(text)) for text in texts)


def _named_ports(pod: Pod) -> Iterator[tuple[str, str, int]]:
    sidecars = (container for container in pod.spec.initContainers if container.restartPolicy == "Always")
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports:
            if port.name:
                yield sys.intern(port.name), sys.intern(port.protocol or "TCP"), port.containerPort


def has_endpoint(facts: PodFacts, *, terminating: bool) -> bool:
    """Whether a pod belongs into the endpoints of a Service; `terminating`: also one that is being deleted."""
    return not facts.ended and bool(facts.addresses) and (terminating or not facts.terminating)


def addresses_of(facts: PodFacts, family: str) -> tuple[str, ...]:
    """Those of one address family."""
    return tuple([address for address in facts.addresses if (":" in address) is (family == services.IPV6)])


def hostname_of(facts: PodFacts, service: Service) -> str:
    """The name that DNS has for the pod in the Service; empty for none."""
    return facts.hostname if facts.subdomain == service.metadata.name else ""


def port_number(port: ServicePort, facts: PodFacts | None) -> int | None:
    """The number of a Service's port in a pod; None where no container has a port of that name."""
    target = port.targetPort
    if target.type != _NAMED:
        return target.intVal or port.port
    wanted = target.strVal, port.protocol
    ports = facts.ports if facts is not None else ()
    return next((number for name, protocol, number in ports if (name, protocol) == wanted), None)


def has_controller(service: Service) -> bool:
    """Whether controllers write the endpoints of a Service: it has a selector, and is no alias."""
    return bool(service.spec.selector) and service.spec.type != services.EXTERNAL_NAME


def selected(tx: Tx, service: Service, facts: FactsOf[PodFacts]) -> list[PodFacts]:
    """The pods that a Service selects, by name, read without a claim that they stay. Costs the pods that have the label of the
    selector that fewest pods of the namespace have."""
    selector, namespace = service.spec.selector, service.metadata.namespace
    candidates = [tuple(tx.by_index(kinds.POD, BY_LABEL, f"{namespace}/{k}={v}")) for k, v in selector.items()]
    rows = min(candidates, key=len, default=())
    found = [facts(row) for row in rows]
    if len(selector) < 2:
        return found
    wanted = selector.items()
    return [pod for pod in found if wanted <= pod.labels.items()]


def selecting(view: Tx, namespace: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Keys of the Services that select pods with these labels."""
    for key, value in labels.items():
        for row in view.by_index(kinds.SERVICE, BY_SELECTOR, f"{namespace}/{key}={value}"):
            service = row.message
            if service.spec.selector.items() <= labels.items():
                yield f"{namespace}/{service.metadata.name}"


def keys_of_pod(event: Event, view: Tx, facts: FactsOf[PodFacts]) -> Iterable[str]:
    """Keys of the Services whose endpoints the change of a pod may concern."""
    # The old facts first: those of the new version replace them.
    old = facts(event.old) if event.old is not None else None
    new = facts(event.new) if event.new is not None else None
    if event.new is None:
        facts.forget(event.row)
    if old == new:
        return ()
    namespace = event.row.key.split("/")[-2]
    labels = [found.labels for found in (old, new) if found is not None]
    if len(labels) == 2 and labels[0] == labels[1]:
        labels.pop()
    return {key: None for found in labels for key in selecting(view, namespace, found)}
