"""The part of a pod that placement reads, taken from the message once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeVar

from controlplane.scheduler import podterms, spread
from controlplane.scheduler.podselectors import NO_LABELS, PodLabels
from controlplane.scheduler.podterms import PodTerms
from controlplane.scheduler.spread import SpreadConstraint
from pinnace import heldresources, hostports, nodeselectors, persistentvolumes
from pinnace.core.v1 import pod_pb2, scheduling_pb2
from pinnace.hostports import HostPort
from pinnace.meta.v1 import meta_pb2
from pinnace.nodeselectors import Term
from pinnace.persistentvolumes import PodClaim
from pinnace.remembered import Remembered

# Rows of every resource column, in this order. Units: millicores, bytes, bytes, pods.
RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")
# Amounts saturate here: the difference of two of them, in either direction, still fits into 64 bits.
LIMIT = 1 << 62
# Longer texts and tuples are not shared between pods, so that those kept for it are bounded.
MAX_SHARED = 128
# Affinities of more bytes are not shared either.
MAX_CONTENT = 8 << 10

T = TypeVar("T", bound=Sequence[object])


class Toleration(NamedTuple):
    key: str
    operator: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class PodInfo:
    """One pod for placement. `key` is namespace/name, `requests` follows RESOURCES.

    `labels` are all that the terms of others compare of it, and `terms` are its own about others. `node_terms`: one must match
    the node; None without such a rule. `preferred_nodes`: terms with their weights. `group` is the key of the pods that are
    spread over nodes where it has no constraints (`spread`). The API counts `generation` up with each change of the spec; the
    scheduler's binding, which sets `node`, is none. `invalid` is why the pod cannot be placed: it could not be read.
    `nominated` is the node on which pods were preempted for it.
    """

    key: str
    uid: str
    requests: tuple[int, ...] = (0, 0, 0, 1)
    priority: int = 0
    created: int = 0
    group: str = ""
    labels: PodLabels = NO_LABELS
    node_selector: tuple[tuple[str, str], ...] = ()
    node_terms: tuple[Term, ...] | None = None
    preferred_nodes: tuple[tuple[int, Term], ...] = ()
    terms: PodTerms | None = None
    spread: tuple[SpreadConstraint, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    claims: tuple[PodClaim, ...] = ()
    node: str = ""
    generation: int = field(default=0, compare=False)
    preempts: bool = True
    nominated: str = field(default="", compare=False)
    invalid: str = ""

    @property
    def order(self) -> tuple[int, int, str]:
        """Sorts pods by priority, then age, then name."""
        return -self.priority, self.created, self.key

    @property
    def helped_by_pods(self) -> bool:
        """Whether pods that are placed may make room for this one: it wants to be near them, or as many elsewhere."""
        return bool(self.terms is not None and self.terms.affinity) or any(item.hard for item in self.spread)

    @property
    def signature(self) -> tuple[object, ...]:
        """Equal for pods that the same nodes can take: all that filters read, but labels where no pod has terms for others."""
        own = (self.labels, self.terms, self.spread) if self.terms is not None or self.spread else ()
        if self.claims:
            # A claim that was made for a pod is of no use to another.
            made = self.uid if any(claim.ephemeral for claim in self.claims) else ""
            own = (*own, self.key.partition("/")[0], made, self.claims)
        return *own, self.requests, self.node_selector, self.node_terms, self.tolerations, self.host_ports, self.invalid

    def on(self, node: str) -> PodInfo:
        """The same pod on a node."""
        return dataclasses.replace(self, node=node)


def read(pod: pod_pb2.Pod) -> PodInfo:
    """Never raises: a pod that cannot be read counts as one pod with its labels and without requests, and `invalid` is set."""
    try:
        return _read(pod)
    except Exception as error:  # whatever a stored pod holds concerns this pod alone
        meta = pod.metadata
        reason = f"{type(error).__name__}: {error}"[:200]
        return PodInfo(f"{meta.namespace}/{meta.name}", meta.uid, labels=_labels(meta), node=pod.spec.nodeName, invalid=reason)


def _read(pod: pod_pb2.Pod) -> PodInfo:
    meta, spec = pod.metadata, pod.spec
    affinity = _affinity(spec.affinity) if spec.HasField("affinity") else _NO_AFFINITY
    labels = _labels(meta)
    tolerations = (Toleration(item.key, item.operator, item.value, item.effect) for item in spec.tolerations)
    return PodInfo(
        key=f"{meta.namespace}/{meta.name}",
        uid=meta.uid,
        requests=_shared((*requests(pod), 1)),
        priority=spec.priority,
        created=meta.creationTimestamp.seconds,
        group=_shared(_group(meta)),
        labels=labels,
        node_selector=_shared(tuple(sorted(spec.nodeSelector.items()))),
        node_terms=affinity.node_terms,
        preferred_nodes=affinity.preferred_nodes,
        terms=_terms(spec.affinity, meta.namespace) if affinity.pods else None,
        spread=_spread(spec.topologySpreadConstraints, meta.namespace),
        tolerations=_shared(tuple(tolerations)),
        host_ports=hostports.of(pod),
        claims=tuple(persistentvolumes.claims_of(pod)),
        node=spec.nodeName,
        generation=meta.generation,
        preempts=spec.preemptionPolicy != "Never",
        nominated=pod.status.nominatedNodeName,
    )


class _Affinity(NamedTuple):
    node_terms: tuple[Term, ...] | None = None
    preferred_nodes: tuple[tuple[int, Term], ...] = ()
    # Whether there are terms about pods, which depend on the namespace.
    pods: bool = False


_NO_AFFINITY = _Affinity()


@Remembered
def _affinity(message: scheduling_pb2.Affinity) -> _Affinity:
    nodes = message.nodeAffinity
    terms = None
    if nodes.HasField("requiredDuringSchedulingIgnoredDuringExecution"):
        terms = nodeselectors.terms(nodes.requiredDuringSchedulingIgnoredDuringExecution)
    preferred = (
        (item.weight, nodeselectors.term(item.preference)) for item in nodes.preferredDuringSchedulingIgnoredDuringExecution
    )
    found = tuple((weight, term) for weight, term in preferred if term is not None)
    return _Affinity(terms, found, message.HasField("podAffinity") or message.HasField("podAntiAffinity"))


def _labels(meta: meta_pb2.ObjectMeta) -> PodLabels:
    labels = _shared(tuple(sorted(meta.labels.items())))
    return _shared(PodLabels(meta.namespace, labels, meta.deletionTimestamp.seconds > 0))


def _terms(affinity: scheduling_pb2.Affinity, namespace: str) -> PodTerms | None:
    """One value for the pods of a template: their terms are compared and hashed often."""
    content = affinity.SerializeToString(deterministic=True)
    return _remembered_terms(content, namespace) if len(content) <= MAX_CONTENT else podterms.read(affinity, namespace)


@lru_cache(maxsize=1024)
def _remembered_terms(content: bytes, namespace: str) -> PodTerms | None:
    return podterms.read(scheduling_pb2.Affinity.FromString(content), namespace)


def _spread(items: Sequence[scheduling_pb2.TopologySpreadConstraint], namespace: str) -> tuple[SpreadConstraint, ...]:
    return _shared(spread.read(items, namespace)) if items else ()


def _shared(value: T) -> T:
    """An equal value that other pods have too: most are alike, and there are many."""
    return _remembered(value) if len(value) <= MAX_SHARED else value


@lru_cache(maxsize=4096)
def _remembered(value: T) -> T:
    return value


def unchanged(pod: pod_pb2.Pod, info: PodInfo) -> bool:
    """Whether `read` would return `info` again: most events of a bound pod report a status only."""
    meta = pod.metadata
    same = meta.uid == info.uid and pod.spec.nodeName == info.node and meta.generation == info.generation
    if not same or info.generation <= 0 or _group(meta) != info.group or _labels(meta) != info.labels:
        return False
    # What was never changed was never resized: only then does the status say nothing of requests.
    return info.generation == 1 or read(pod) == info


def _group(meta: meta_pb2.ObjectMeta) -> str:
    """Pods of one owner, or with the same labels in a namespace."""
    for ref in meta.ownerReferences:
        if ref.controller:
            return f"{meta.namespace}/{ref.uid}"
    labels = ",".join(f"{key}={value}" for key, value in sorted(meta.labels.items()))
    return f"{meta.namespace}/{labels}"


def requests(pod: pod_pb2.Pod) -> tuple[int, int, int]:
    """The pod's peak requests with what it still holds during a resize, in the order of RESOURCES. Raises ValueError."""
    found = heldresources.requests(pod)
    cpu, memory, storage = (saturated(found.get(name, 0)) for name in RESOURCES[:3])
    return cpu, memory, storage


def saturated(amount: int) -> int:
    """An amount between 0 and LIMIT, however large a manifest writes it."""
    return min(max(amount, 0), LIMIT)
