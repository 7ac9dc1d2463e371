"""Fences: nodes that the others take out of the overlay, since they may still run pods which the cluster has replaced.

    a pod of a silent node is removed from the API ──► fenced: no peer ──► its agent has applied that ──► a peer again

An agent that is silent cannot end a pod that was deleted by force, or because its node is out of service. The node may come
back with it at any moment, as a paused virtual machine does before its agent runs; or it was only cut off. So its pods reach no
other node's from the moment in which the pod's name becomes free, until the agent reports an assignment without that pod. Nodes
that are merely silent are not fenced: their pods are not replaced under their names, and serve, as in Kubernetes.

The annotation of the Node makes a fence outlast the control plane. This module alone writes it; an administrator may remove it.
A Node that is deleted while it is fenced, or silent with pods that may run, is fenced when it is registered again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from controlplane import conditions, events
from controlplane.store import Event, Store, StoredObject, Tx
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.core.v1.node_pb2 import Node
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.wellknown import ANNOTATION_FENCED

log = logging.getLogger("pinnace.dispatcher")
# Seconds before an annotation that could not be written is tried again.
AGAIN = 1.0
# Deleted Nodes that are remembered; beyond them the earliest are forgotten.
MAX_DELETED = 1000
SOURCE = "dispatcher"


class Fences:
    """Synchronous but for `run`, which records."""

    def __init__(self) -> None:
        # The revision from which on an assignment lacks what the node is fenced for.
        self._fenced: dict[str, int] = {}
        # Of nodes that are silent, the pods that may run there, by key: a watch that was behind has missed their removal.
        self._silent: dict[str, set[str]] = {}
        # Deleted Nodes whose pods may still run, in the order of their deletion.
        self._deleted: dict[str, None] = {}
        # Nodes whose annotation is to be written.
        self._pending: dict[str, None] = {}
        self._wake = asyncio.Event()

    def __contains__(self, node: str) -> bool:
        return node in self._fenced

    def take_pod(self, event: Event, node: str) -> bool:
        """A pod that is bound to `node`, or was, has changed; whether that fences it."""
        pods = self._silent.get(node)
        if pods is None:
            return False
        if event.new is not None and not _has_ended(event.new.message):
            pods.add(event.row.key)
            return False
        pods.discard(event.row.key)
        if event.new is not None or event.old is None or _has_ended(event.old.message):
            return False
        self._fence(node, event.revision)
        return True

    def take_all(self, pods_of: Callable[[str], Iterable[StoredObject]], revision: int) -> list[str]:
        """The watch begins again, with everything as it is at `revision`; returns the nodes that are fenced by that."""
        found = []
        for name, known in self._silent.items():
            if known - {row.key for row in pods_of(name)}:
                self._fence(name, revision)
                found.append(name)
            self._silent[name] = _may_run(pods_of(name))
        return found

    def _fence(self, name: str, revision: int) -> None:
        self._fenced[name] = max(revision, self._fenced.get(name, 0))
        self._record(name)

    def take_node(
        self, name: str, node: Node | None, revision: int, pods_of: Callable[[str], Iterable[StoredObject]]
    ) -> bool:  # fmt: skip
        """The Node has changed; whether that fences it: another control plane has, or this one did before it started, or
        before the Node was deleted."""
        if node is None:
            self._delete(name)
            return False
        if not _is_silent(node):
            self._silent.pop(name, None)
        elif name not in self._silent:
            self._silent[name] = _may_run(pods_of(name))
        if name in self._deleted:
            del self._deleted[name]
            self._fence(name, revision)
            return True
        marked = ANNOTATION_FENCED in node.metadata.annotations
        if name in self._pending:
            return False
        if not marked:
            self._fenced.pop(name, None)
            return False
        if name in self._fenced:
            return False
        self._fenced[name] = revision
        return True

    def _delete(self, name: str) -> None:
        may_run = self._silent.pop(name, None)
        if self._fenced.pop(name, None) is None and not may_run:
            return
        self._deleted[name] = None
        if len(self._deleted) > MAX_DELETED:
            del self._deleted[next(iter(self._deleted))]

    def applied(self, node: str, revision: int) -> bool:
        """The node's agent has applied its assignment up to `revision`; whether that ends its fence."""
        if revision < self._fenced.get(node, revision + 1):
            return False
        del self._fenced[node]
        self._record(node)
        return True

    def _record(self, node: str) -> None:
        self._pending[node] = None
        self._wake.set()

    async def run(self, store: Store, clock: Clock) -> None:
        """Write annotations until cancelled."""
        while True:
            # What could not be written is tried again, and delays no other.
            await clock.wait(self._wake, AGAIN if self._pending else None)
            self._wake.clear()
            for name in list(self._pending):
                await self._write(store, name, clock.now())

    async def _write(self, store: Store, name: str, now: float) -> None:
        fenced = name in self._fenced
        try:
            await store.update(functools.partial(_mark, name=name, fenced=fenced, now=now))
        except Exception as error:
            log.warning("fence_not_recorded node=%s error=%r", name, error)
            return
        log.info("node_%s node=%s", "fenced" if fenced else "unfenced", name)
        if (name in self._fenced) == fenced:
            self._pending.pop(name, None)


def _is_silent(node: Node) -> bool:
    """Whether its agent was heard before, and is not any more."""
    ready = conditions.find(node.status, "Ready")
    return ready is not None and ready.status == "Unknown" and ready.reason != "NodeStatusNeverUpdated"


def _may_run(rows: Iterable[StoredObject]) -> set[str]:
    return {row.key for row in rows if not _has_ended(row.message)}


def _has_ended(pod: Pod) -> bool:
    """By what its agent has reported of each container: the phase is also written by controllers that give up the pod."""
    known = {item.name: item.state for item in (*pod.status.initContainerStatuses, *pod.status.containerStatuses)}
    return all(item.name in known and known[item.name].HasField("terminated") for item in pod.spec.containers)


def _mark(tx: Tx, name: str, fenced: bool, now: float) -> None:
    node = tx.get(kinds.NODE, "", name)
    if node is None or (ANNOTATION_FENCED in node.metadata.annotations) == fenced:
        return
    if fenced:
        since = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
        node.metadata.annotations[ANNOTATION_FENCED] = since
        text = f"Node {name} may still run pods that were removed while it was silent: other nodes drop its pods' traffic"
        events.record(tx, node, "NodeFenced", text, source=SOURCE, now=now, warning=True)
    else:
        del node.metadata.annotations[ANNOTATION_FENCED]
        events.record(tx, node, "NodeUnfenced", f"Node {name} has ended pods that were removed", source=SOURCE, now=now)
    tx.put(kinds.NODE, node)
