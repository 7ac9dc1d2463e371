"""Properties of controllers under random users, pods, node failures and restarts of the control plane.

A `World` sees every change of the store with the component that made it, in order, and checks it against the state at that
revision: not only the states in which the controllers have come to rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from hypothesis import strategies as st

from controlplane.controllers import podcontrol
from controlplane.store import Event
from controlplane.store.memory import MemoryBackend
from controlplane.store.origin import Origin
from pinnace import kinds
from pinnace.clock import RandomIds, VirtualClock, settle
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from tests.support.cluster import TURNS, Cluster, running
from tests.support.jobs import Workers
from tests.support.workloads import SettledApi

# Seconds until a node without heartbeats is NotReady, and until its pods are evicted (the default toleration).
UNREACHABLE, EVICTED = 30.0, 340.0
# Minutes after which every workload is complete that is left alone.
MOST_MINUTES = 40

PICK = st.integers(0, 9)
# What happens to any workload: pods start (one or all, ready or not), users delete pods, pods fail, nodes are away, the control plane restarts.
DISTURBANCES = (
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("delete"), PICK),
    st.tuples(st.just("fail"), PICK),
    st.tuples(st.just("node"), PICK),
    st.tuples(st.just("restart"), st.sampled_from([0.0, 40.0])),
    st.tuples(st.just("wait"), st.sampled_from([3.0, 20.0])),
)


class Change(NamedTuple):
    """One change of an object by a component (`controller:NAME`, the scheduler's name, empty for users and agents in tests)."""

    kind: Kind
    old: Any
    new: Any
    actor: str

    @property
    def deletes(self) -> bool:
        """Whether the object begins to be deleted, or is gone without having been so before."""
        if self.old is None or self.old.metadata.deletionTimestamp.seconds:
            return False
        return self.new is None or bool(self.new.metadata.deletionTimestamp.seconds)


class Witness:
    """All changes of a store, until they are taken. It is the watch cache's tap."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def take(self, event: Event, origin: Origin | None) -> None:
        old = event.old.message if event.old is not None else None
        new = event.new.message if event.new is not None else None
        self.changes.append(Change(event.row.kind, old, new, origin.actor if origin else ""))

    def skip(self, first: int, last: int) -> None:
        """A reload, of which these tests have none."""
        raise AssertionError(f"changes {first} to {last} were not seen")


class Fleet(Workers):
    """Agents, some of whose nodes may be away: their containers run on without reports.

    `containers`: names of pods by UID, of which a container has been started and has not been reported as gone."""

    def __init__(self, cluster: Cluster, *nodes: str) -> None:
        super().__init__(cluster, *nodes)
        self.away: set[str] = set()
        self.containers: dict[str, str] = {}

    def pods(self) -> list[Pod]:
        """On nodes that are reached, or on none yet."""
        return [pod for pod in super().pods() if pod.spec.nodeName not in self.away]

    async def start(self, pod: Pod, *, ready: bool = True) -> None:
        self.containers[pod.metadata.uid] = pod.metadata.name
        await super().start(pod, ready=ready)

    async def step(self, *, fails: Callable[[Pod], bool] = lambda _: False) -> bool:
        for pod in self.pods():
            if pod.spec.nodeName and pod.metadata.deletionTimestamp.seconds:
                # Before the report: the object may be gone with it.
                self.containers.pop(pod.metadata.uid, None)
                break
        return await super().step(fails=fails)


class World:
    """A control plane, its agents, and what must hold. Subclasses check each `changed`, and each state at rest (`rested`).

    `actions` of a run are names of methods with one argument each."""

    nodes: tuple[str, ...] = ("n1", "n2")
    # Minutes without a change of a pod after which there will be none.
    patience = 1

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self._backend = MemoryBackend()
        self._ids = RandomIds(seed=1)
        self._stack = AsyncExitStack()
        self._witness = Witness()
        self.objects: dict[tuple[Kind, str], Any] = {}
        # What has happened, for the message of a failure.
        self.story: list[str] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        await self._start()
        self.fleet = Fleet(self.cluster, *self.nodes)
        await self.fleet.join()
        try:
            yield
        finally:
            await self._stack.aclose()

    async def _start(self) -> None:
        self.cluster = await self._stack.enter_async_context(running(backend=self._backend, clock=self.clock, ids=self._ids))
        self.api = SettledApi(self.cluster)
        self.cluster.store.cache.tap = self._witness
        self.objects = {
            (kind, _key(row.message)): row.message
            for kind in (kinds.POD, *self.watched)
            for row in self.cluster.store.rows(kind)
        }  # fmt: skip

    # The kinds of which `find` and `every` know the state at a change, in addition to pods.
    watched: tuple[Kind, ...] = ()

    async def act(self, action: tuple[str, Any]) -> None:
        name, value = action
        self.story.append(f"{name}({value})")
        await getattr(self, name)(value)
        await settle(TURNS)
        self.check()

    def check(self) -> None:
        """All changes since the last check, and the state now."""
        self._follow()
        self.rested()

    def _follow(self) -> None:
        changes, self._witness.changes = self._witness.changes, []
        for change in changes:
            key = change.kind, _key(change.new or change.old)
            if change.new is None:
                self.objects.pop(key, None)
            else:
                self.objects[key] = change.new
            self.changed(change)

    def changed(self, change: Change) -> None:
        """Check one change; `find` and `every` have the state after it."""

    def rested(self) -> None:
        """Check the state in which the controllers have come to rest."""

    def find(self, kind: Kind, name: str, namespace: str = "default") -> Any | None:
        return self.objects.get((kind, f"{namespace}/{name}"))

    def every(self, kind: Kind) -> list[Any]:
        return [item for (of, _), item in self.objects.items() if of is kind]

    # What happens

    async def start(self, ready: bool) -> None:
        await self.fleet.step(fails=lambda _: not ready)

    async def settle(self, _: None = None) -> None:
        """All pods start and are ready."""
        await self.fleet.settle(watch=self.check)

    def active(self) -> list[Pod]:
        return [pod for pod in self.fleet.pods() if podcontrol.is_active(pod)]

    async def delete(self, number: int) -> None:
        """A user deletes a pod."""
        pods = self.active()
        if pods:
            await self.cluster.delete(kinds.POD, pods[number % len(pods)].metadata.name)

    async def fail(self, number: int) -> None:
        """A pod ends by itself; its containers are gone."""
        pods = [pod for pod in self.active() if pod.status.phase == "Running"]
        if pods:
            pod = pods[number % len(pods)]
            self.fleet.containers.pop(pod.metadata.uid, None)
            await self.fleet.fail(pod)

    async def node(self, number: int) -> None:
        """A node is away until its pods are evicted, or comes back."""
        name = self.nodes[number % len(self.nodes)]
        if name in self.fleet.away:
            await self.heal(name)
        else:
            self.fleet.away.add(name)
            self.cluster.alive.discard(name)
            await self.cluster.advance(EVICTED if number % 2 else UNREACHABLE)

    async def heal(self, name: str) -> None:
        self.fleet.away.discard(name)
        self.cluster.alive.add(name)
        await self.cluster.beat(name)
        await self.cluster.advance(5)

    async def restart(self, seconds: float) -> None:
        """Another control plane on the same backend, `seconds` later."""
        alive = set(self.cluster.alive)
        await self._stack.aclose()
        # Before the state is read anew, which is later than these.
        self._follow()
        if seconds:
            await self.clock.advance(seconds)
        await self._start()
        self.cluster.alive |= alive
        self.fleet.rebind(self.cluster)
        await self.cluster.beat(*sorted(alive))
        await self.cluster.advance(20)

    async def wait(self, seconds: float) -> None:
        await self.cluster.advance(seconds)

    async def calm(self) -> None:
        """All nodes are back, and pods that run get ready."""
        for name in sorted(self.fleet.away):
            await self.heal(name)
        for pod in self.active():
            if pod.status.phase == "Running" and podcontrol.ready_since(pod) is None:
                await self.fleet.start(pod)
        await self.cluster.advance(30)
        quiet = 0
        for _ in range(MOST_MINUTES):
            await self.fleet.settle(watch=self.check)
            # Back-offs and minReadySeconds.
            await self.cluster.advance(60)
            quiet = 0 if self._pods_changed() else quiet + 1
            self.check()
            if quiet > self.patience:
                return
        raise AssertionError("pods still change")

    def _pods_changed(self) -> bool:
        return any(change.kind is kinds.POD for change in self._witness.changes)


def run(world: World, body: Callable[[], Any]) -> None:
    """The coroutine of `body` in the world."""

    async def within() -> None:
        async with world.opened():
            try:
                await body()
            except AssertionError as error:
                error.add_note(f"after {' '.join(world.story)}")
                raise

    asyncio.run(within())


def _key(message: Any) -> str:
    return f"{message.metadata.namespace}/{message.metadata.name}"


def is_ready(pod: Pod) -> bool:
    """Running and ready, and not being deleted."""
    return pod.status.phase == "Running" and podcontrol.is_active(pod) and podcontrol.ready_since(pod) is not None
