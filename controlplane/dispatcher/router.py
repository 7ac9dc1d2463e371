"""From events to sessions: one watch over the store, an index from nodes to sessions, and who follows which object.

The cost of an event is that of the sessions that it concerns: a pod's event reaches the session of its node, an object's event
the sessions whose pods name it, and an event of a node, a Service or an EndpointSlice only a table of all sessions. Sessions in
all, and objects in all, do not count.

The methods are synchronous and take rows and events; only `run` watches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from controlplane import metrics
from controlplane.dispatcher import podtokens
from controlplane.dispatcher.assignment import NAMED, NodeAssignment, Rows
from controlplane.dispatcher.fences import Fences
from controlplane.dispatcher.peers import PeerTable, peer_of
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.podtokens import Issue
from controlplane.dispatcher.policyfeed import POLICING, PolicyFeed
from controlplane.dispatcher.serviceobjects import KINDS as SERVICES
from controlplane.dispatcher.serviceobjects import ServiceObjects
from controlplane.resources.indexes import NODE
from controlplane.resources.persistentvolume import RECLAIMED_ON, reclaiming_node
from controlplane.store import Event, Store, StoredObject
from pinnace import kinds, nodenetwork
from pinnace.clock import Clock
from pinnace.errors import Expired
from pinnace.kinds import Kind
from pinnace.wellknown import LABEL_ZONE

log = logging.getLogger("pinnace.dispatcher")
# Events after which other tasks get a turn.
TURN = 100
_WATCHED: tuple[Kind, ...] = tuple(dict.fromkeys((kinds.POD, kinds.NODE, *POLICING, *NAMED, *SERVICES)))
# Seconds between messages about what every node has (peers, Services): one costs 0.3 ms, so these take a third of one core
# however many nodes there are, and a cluster of three sees a change at once. Sessions that are woken together, in one turn of
# the event loop.
SHARED_PER_SESSION, TOGETHER = 0.001, 10


class Router:
    def __init__(self, rows: Rows, cidrs: PodCIDRs) -> None:
        self.peers = PeerTable()
        self.services = ServiceObjects()
        self.fences = Fences()
        self._rows = rows
        self._cidrs = cidrs
        self._followers: dict[str, dict[NodeAssignment, None]] = {}
        self._open: dict[str, dict[NodeAssignment, Callable[[], None]]] = {}
        self.policies = PolicyFeed(rows, self._mark_followers)
        self._shared_changed = asyncio.Event()
        self.loaded = asyncio.Event()
        # Called with the name of a node whose zone has changed.
        self.zone_changed: Callable[[str], None] = lambda name: None

    def open(
        self, node: str, wake: Callable[[], None], issue: Issue = podtokens.none, *,
        static_namespaces: frozenset[str] = frozenset(),
    ) -> NodeAssignment:  # fmt: skip
        """A complete assignment of the node, which has static pods in these namespaces; `wake` is called when there is more to
        send. Not before `loaded`: it would lack the peers."""
        assignment = NodeAssignment(
            node, self._rows, self, self.peers, self.services, self.policies.table, issue
        )  # fmt: skip
        self._open.setdefault(node, {})[assignment] = wake
        assignment.start(self._keys_of(node), static_namespaces)
        return assignment

    def _pods_of(self, node: str) -> list[StoredObject]:
        return self._rows.rows_by(kinds.POD, NODE, node)

    def _keys_of(self, node: str) -> list[str]:
        """The pods of a node, and the volumes whose data it is to delete."""
        pods = self._pods_of(node)
        volumes = self._rows.rows_by(kinds.PERSISTENT_VOLUME, RECLAIMED_ON, node)
        return [row.key for row in (*pods, *volumes)]

    def name(self, assignment: NodeAssignment, static_namespaces: frozenset[str]) -> None:
        """The node has static pods in these namespaces from now on."""
        assignment.name(static_namespaces)
        self._open[assignment.node][assignment]()

    def close(self, assignment: NodeAssignment) -> None:
        assignment.close()
        found = self._open.get(assignment.node, {})
        found.pop(assignment, None)
        if not found:
            self._open.pop(assignment.node, None)

    def follow(self, key: str, assignment: NodeAssignment, /) -> None:
        self._followers.setdefault(key, {})[assignment] = None

    def unfollow(self, key: str, assignment: NodeAssignment, /) -> None:
        followers = self._followers.get(key, {})
        followers.pop(assignment, None)
        if not followers:
            self._followers.pop(key, None)

    # Following the store

    async def run(self, store: Store, clock: Clock) -> None:
        """Follow the store until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(store))
            group.create_task(self._spread_shared(clock))
            group.create_task(self.fences.run(store, clock))
            group.create_task(self.policies.run())

    async def _watch(self, store: Store) -> None:
        while True:
            rows, subscription = store.view_and_watch(*_WATCHED)
            try:
                for _ in self._loading(rows):
                    await asyncio.sleep(0)
                async for events in subscription:
                    for number, event in enumerate(events, 1):
                        self._contained(event)
                        if number % TURN == 0:
                            await asyncio.sleep(0)
            except Expired:
                log.warning("dispatcher_relisting")
            finally:
                subscription.close()

    async def _spread_shared(self, clock: Clock) -> None:
        while True:
            await self._shared_changed.wait()
            self._shared_changed.clear()
            wakes = [item for found in self._open.values() for item in found.items()]
            self.peers.prune(min((assignment.peers_seen for assignment, _ in wakes), default=self.peers.version))
            self.services.prune(min((assignment.services_seen for assignment, _ in wakes), default=self.services.version))
            for start in range(0, len(wakes), TOGETHER):
                part = wakes[start : start + TOGETHER]
                for _, wake in part:
                    wake()
                await clock.sleep(SHARED_PER_SESSION * len(part))

    def load(self, rows: Iterable[StoredObject]) -> None:
        """Start from what there is now. Sessions that are open catch up with what they missed."""
        for _ in self._loading(rows):
            pass

    def _loading(self, rows: Iterable[StoredObject]) -> Iterator[None]:
        """`load` with pauses: policies may take their time, and no session begins without them."""
        left, services = set(self.peers.nodes()), list[StoredObject]()
        self._cidrs.reset()
        for row in rows:
            if row.kind in SERVICES:
                services.append(row)
                self._contained(Event(None, row, row.revision))
            elif row.kind is kinds.NODE:
                left.discard(_name(row))
                self._contained(Event(None, row, row.revision))
        for name in left:
            self._put_peer(name, None)
        self.services.keep_only(services)
        for name in self.fences.take_all(self._pods_of, self._rows.revision):
            self._fence(name)
        yield from self.policies.catch_up()
        for assignment, wake in [item for found in self._open.values() for item in found.items()]:
            for key in (*assignment.keys(), *self._keys_of(assignment.node)):
                assignment.mark(key)
            wake()
        self.loaded.set()

    def _contained(self, event: Event) -> None:
        """`take`; an object that cannot be read costs the others nothing."""
        try:
            self.take(event)
        except Exception:
            metrics.dispatch_failures.inc()
            log.exception("dispatch_failed key=%s", event.row.key)

    def take(self, event: Event) -> None:
        row = event.row
        if row.kind is kinds.POD:
            self._take_pod(event)
        elif row.kind is kinds.NODE:
            name, node = _name(row), event.new.message if event.new is not None else None
            if self.fences.take_node(name, node, event.revision, self._pods_of):
                self._fence(name)
            self._take_node(name, event.new)
            if event.old is not None and event.new is not None and _zone(event.old) != _zone(event.new):
                self.zone_changed(name)
        if row.kind in SERVICES and self.services.take(row, present=event.new is not None):
            self._shared_changed.set()
        if row.kind in POLICING:
            self.policies.take(row.kind, row.key)
        elif row.kind in NAMED:
            self._mark_followers(row.key, row.key)
            if row.kind is kinds.PERSISTENT_VOLUME and event.new is not None:
                for assignment in self._open.get(reclaiming_node(event.new.message), ()):
                    self._mark(assignment, row.key)

    def _take_pod(self, event: Event) -> None:
        bound = _node_of(event.new) or _node_of(event.old)
        if self.fences.take_pod(event, bound):
            self._fence(bound)
        for node in {_node_of(event.old), _node_of(event.new)}:
            for assignment in self._open.get(node, ()):
                self._mark(assignment, event.row.key)

        self.policies.take(kinds.POD, event.row.key)

    def _take_node(self, name: str, row: StoredObject | None) -> None:
        node = row.message if row is not None else None
        self._cidrs.observe(name, nodenetwork.pod_cidrs(node) if node is not None else ())
        self._put_peer(name, node)

    def _put_peer(self, name: str, node: object | None) -> None:
        if self.peers.put(name, peer_of(node) if node is not None and name not in self.fences else None):
            self._shared_changed.set()

    def _node(self, name: str) -> Any:
        row = self._rows.row(kinds.NODE, kinds.NODE.key("", name)) if name else None
        return row.message if row is not None else None

    def _fence(self, name: str) -> None:
        """The node is no peer of others; its agent is asked to confirm that it has applied what it is fenced for."""
        self._put_peer(name, None)
        for assignment, wake in self._open.get(name, {}).items():
            assignment.announce()
            wake()

    def applied(self, name: str, revision: int) -> None:
        """The node's agent has applied its assignment up to `revision`."""
        if self.fences.applied(name, revision):
            self._put_peer(name, self._node(name))

    def _mark_followers(self, followed: str, key: str) -> None:
        """What is at `key` may have changed for the sessions that follow `followed`."""
        for assignment in self._followers.get(followed, ()):
            self._mark(assignment, key)

    def _mark(self, assignment: NodeAssignment, key: str) -> None:
        assignment.mark(key)
        self._open[assignment.node][assignment]()


def _node_of(row: StoredObject | None) -> str:
    """The node that a pod is bound to; empty for none."""
    return str(row.message.spec.nodeName) if row is not None else ""


def _name(row: StoredObject) -> str:
    return row.key.removeprefix(kinds.NODE.prefix)


def _zone(row: StoredObject) -> str:
    return str(row.message.metadata.labels.get(LABEL_ZONE, ""))
