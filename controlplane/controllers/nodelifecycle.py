"""Nodes: NotReady when the lease does not change, and the taints that follow from a node's conditions. Root kind: Node.

The dispatcher renews the node's Lease in kube-node-lease while the agent is heard; this controller only observes it. The taint
that evicts pods is set at a limited rate, and not at all while the failure looks like one of the observer (`disruption`).
Ready=False, as an agent reports it, taints as not-ready, Ready=Unknown as unreachable, pressure by its own names. Source: the
node lifecycle controller of kube-controller-manager.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane import conditions, events
from controlplane.access import nodeidentity
from controlplane.controllers.budget import WriteBudget
from controlplane.controllers.disruption import EvictionRates, RateLimiter
from controlplane.controllers.nodehealth import NodeHealth, zone_of
from controlplane.controllers.runner import Moment, Requeue
from controlplane.resources.indexes import NODE
from controlplane.store import Event, Tx
from pinnace import codec, kinds
from pinnace.core.v1.node_pb2 import Node
from pinnace.kinds import Kind
from pinnace.wellknown import NODE_LEASE_NAMESPACE, TAINT_BY_CONDITION, TAINT_BY_READINESS, TAINT_UNREACHABLE

NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "NoExecute"
SOURCE = "node-controller"
# Bytes of an event about a pod, of which most are its names.
EVENT_SIZE = 1024
_LEASES = kinds.LEASE.key(NODE_LEASE_NAMESPACE, "")
# Seconds after which a node is looked at again while agents are asked, after an advance of the clock.
ASKED = 0.5


class NodeLifecycle:
    name = "nodelifecycle"
    watches: tuple[Kind, ...] = (kinds.NODE, kinds.LEASE)

    def __init__(self, grace: float, rates: EvictionRates | None = None) -> None:
        """`grace`: seconds without a renewal until a node is NotReady."""
        self._grace = grace
        self._health = NodeHealth(grace, rates or EvictionRates())
        self._limiters: dict[str, RateLimiter] = {}

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        kind, key = event.row.kind, event.row.key
        name = key.rsplit("/", 1)[1]
        if kind is kinds.NODE:
            if event.new is None:
                self._health.forget(name)
            else:
                self._health.note_node(event.new.message, watched, anew=event.old is None)
            yield name
        elif kind is kinds.LEASE and key.startswith(_LEASES):
            if event.new is not None:
                self._health.note_lease(name, event.new.revision, watched, anew=event.old is None)
            # A renewal changes nothing but when to reconcile again, which the pending reconciliation finds out itself.
            if event.old is None or event.new is None:
                yield name

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        node = tx.get(kinds.NODE, "", key)
        if node is None:
            self._release(key)
            tx.delete(kinds.LEASE, NODE_LEASE_NAMESPACE, key)
            nodeidentity.delete(tx, key)
            return None
        lease = tx.get(kinds.LEASE, NODE_LEASE_NAMESPACE, key)
        if lease is not None:
            # The transaction may be ahead of the watch.
            self._health.note_lease(key, int(lease.metadata.resourceVersion or 0), now.watched)
        self._taint_pressure(tx, node, now)
        left = self._grace - self._health.lateness(key, _audible(now))
        if left <= 0:
            return self._lose(tx, node, now)
        wait = self._taint_readiness(tx, node, now)
        again = ASKED if now.unasked else left + 0.05
        return Requeue(min(again, wait or again))

    def _taint_readiness(self, tx: Tx, node: Node, now: Moment) -> float:
        """Of a node whose agent is heard; returns as `_taint_unready`. Unknown: the agent has not yet said anything else."""
        ready = conditions.find(node.status, "Ready")
        if ready is not None and ready.status == "False":
            return self._taint_unready(tx, node, TAINT_BY_READINESS["False"], now)
        if ready is not None and ready.status == "True":
            self._release(node.metadata.name)
            for key in TAINT_BY_READINESS.values():
                _set_taint(tx, node, key, (), now=now)
        return 0.0

    def _taint_unready(self, tx: Tx, node: Node, key: str, now: Moment) -> float:
        """Give the node the taint `key` and no other of readiness; returns `_until_eviction`."""
        wait = self._until_eviction(tx, node, now)
        for other in TAINT_BY_READINESS.values():
            if other != key:
                _set_taint(tx, node, other, (), now=now)
        _set_taint(tx, node, key, (NO_SCHEDULE, NO_EXECUTE) if wait == 0 else (NO_SCHEDULE,), now=now)
        return wait

    def _lose(self, tx: Tx, node: Node, now: Moment) -> Requeue:
        """Mark the node and its pods; a part of the pods when they are many."""
        self._mark(tx, node, now)
        wait = self._taint_unready(tx, node, TAINT_UNREACHABLE, now)
        if not self._unready(tx, node.metadata.name, now):
            return Requeue(0.0)
        return Requeue(wait or self._grace)

    def _mark(self, tx: Tx, node: Node, now: Moment) -> None:
        ready = conditions.find(node.status, "Ready")
        if ready is not None and ready.reason == "NodeStatusNeverUpdated":
            message, reason = ready.message, ready.reason
        else:
            message, reason = "The node's agent stopped reporting.", "NodeStatusUnknown"
        if conditions.put(node.status, "Ready", "Unknown", now=now.wall, reason=reason, message=message):
            tx.put(kinds.NODE, node)
            text = f"Node {node.metadata.name} status is now: NodeNotReady"
            events.record(tx, node, "NodeNotReady", text, source=SOURCE, now=now.wall)

    def _until_eviction(self, tx: Tx, node: Node, now: Moment) -> float:
        """Seconds until the node's pods may be evicted or until that can be asked again; 0: now."""
        zones, zone = self._health.zones(_audible(now), lambda: _renewed(tx)), zone_of(node)
        if zones.all_failed:
            self._release(node.metadata.name)
            return self._grace
        if any(taint.key in TAINT_BY_READINESS.values() and taint.effect == NO_EXECUTE for taint in node.spec.taints):
            return 0.0
        rate = zones.rate(zone)
        limiter = self._limiters.setdefault(zone, RateLimiter())
        return limiter.grant(node.metadata.name, now.watched, rate) if rate > 0 else self._grace

    def _release(self, name: str) -> None:
        for limiter in self._limiters.values():
            limiter.release(name)

    def _taint_pressure(self, tx: Tx, node: Node, now: Moment) -> None:
        for type_, key in TAINT_BY_CONDITION.items():
            found = conditions.find(node.status, type_)
            # Of a node that is silent nothing new is known: its taints stay as they are.
            if found is not None and found.status != "Unknown":
                _set_taint(tx, node, key, (NO_SCHEDULE,) if found.status == "True" else (), now=now)

    def _unready(self, tx: Tx, node: str, now: Moment) -> bool:
        """Set Ready=False on the pods of a node whose agent is silent; whether that was all of them."""
        budget = WriteBudget()
        for row in tx.by_index(kinds.POD, NODE, node):
            ready = conditions.find(row.message.status, "Ready")
            if ready is None or ready.status != "True":
                continue
            # The pod, and the event about it.
            if not budget.take(len(row.value) + EVENT_SIZE, operations=2):
                return False
            pod = tx.get(kinds.POD, row.message.metadata.namespace, row.message.metadata.name)
            if pod is not None:
                conditions.put(pod.status, "Ready", "False", now=now.wall, reason="NodeNotReady")
                tx.put(kinds.POD, pod)
                events.record(tx, pod, "NodeNotReady", "Node is not ready", source=SOURCE, now=now.wall, warning=True)
        return True


def _renewed(tx: Tx) -> Iterator[tuple[str, int]]:
    """Nodes with the versions of their leases. After an advance of the clock they are all renewed just before they count."""
    for row in tx.list_untracked(kinds.LEASE, NODE_LEASE_NAMESPACE):
        yield row.key.removeprefix(_LEASES), row.revision


def _audible(now: Moment) -> float:
    """Watched time in which agents could be heard: no advance of the clock counts before they were asked."""
    return now.watched - now.unasked


def _set_taint(tx: Tx, node: Node, key: str, effects: tuple[str, ...], *, now: Moment) -> None:
    """Give the node the taint `key` with exactly these effects."""
    present = [taint.effect for taint in node.spec.taints if taint.key == key]
    if sorted(present) == sorted(effects):
        return
    kept = [taint for taint in node.spec.taints if taint.key != key or taint.effect in effects]
    del node.spec.taints[:]
    node.spec.taints.extend(kept)
    for effect in effects:
        if effect not in present:
            taint = node.spec.taints.add(key=key, effect=effect)
            taint.timeAdded.CopyFrom(codec.time_of(now.wall))
    tx.put(kinds.NODE, node)
