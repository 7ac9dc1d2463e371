"""No address of the load balancer is ever given twice, and none is free while a Service waits for it, whatever users do."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import RandomIds, VirtualClock, settle
from pinnace.errors import ApiError
from tests.support.cluster import TURNS, running
from tests.support.servicepods import Backends, service

POOL = ["192.0.2.64", "192.0.2.65", "192.0.2.66"]
NODES = ("n1", "n2", "n3")
EXCLUDED, ANNOUNCED_BY = "node.kubernetes.io/exclude-from-external-load-balancers", "pinnace.dev/announced-by"
PICK = st.integers(0, 4)
WANTED = st.sampled_from(["", "", POOL[0], POOL[1], "198.51.100.9"])
ACTIONS = st.one_of(
    st.tuples(st.just("create"), PICK, WANTED),
    st.tuples(st.just("create"), PICK, WANTED),
    st.tuples(st.just("want"), PICK, WANTED),
    st.tuples(st.just("delete"), PICK),
    st.tuples(st.just("retype"), PICK, st.sampled_from(["ClusterIP", "LoadBalancer"])),
    st.tuples(st.just("exclude"), st.sampled_from(NODES), st.booleans()),
    st.tuples(st.just("restart")),
)


class World:
    """Users who do not wait for each other, over restarts of the control plane."""

    def __init__(self) -> None:
        self.backend, self.clock, self.ids = MemoryBackend(), VirtualClock(), RandomIds(seed=1)
        self.services: dict[str, Any] = {}

    async def play(self, actions: list[tuple[tuple[Any, ...], int]]) -> None:
        rest, first = list(actions), True
        while rest or first:
            async with running(backend=self.backend, clock=self.clock, ids=self.ids, pool=POOL) as self.cluster:
                if first:
                    await Backends(self.cluster).join(*NODES)
                self.cluster.alive.update(NODES)
                first = False
                watching = asyncio.ensure_future(self.watch())
                acting = []
                while rest and rest[0][0][0] != "restart":
                    action, turns = rest.pop(0)
                    acting.append(asyncio.ensure_future(self.act(action)))
                    await settle(turns)
                del rest[:1]
                await asyncio.gather(*acting)
                # Services that wait are tried again.
                await self.cluster.advance(70, beating=NODES)
                await settle(TURNS)
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
                self.check_at_rest()

    async def watch(self) -> None:
        rows, watcher = self.cluster.store.view_and_watch(kinds.SERVICE)
        self.services = {row.key: row.message for row in rows}
        try:
            async for events in watcher:
                for event in events:
                    self.services.pop(event.row.key, None)
                    if event.new is not None:
                        self.services[event.row.key] = event.new.message
                    self.check()
        finally:
            watcher.close()

    def check(self) -> None:
        given = [entry.ip for item in self.services.values() for entry in item.status.loadBalancer.ingress]
        assert len(set(given)) == len(given), f"an address was given twice: {given}"
        assert set(given) <= set(POOL)

    def check_at_rest(self) -> None:
        able = {
            row.key.rsplit("/", 1)[1]
            for row in self.cluster.store.rows(kinds.NODE)
            if EXCLUDED not in row.message.metadata.labels
        }
        held = {entry.ip for item in self.services.values() for entry in item.status.loadBalancer.ingress}
        for item in self.services.values():
            addresses = [entry.ip for entry in item.status.loadBalancer.ingress]
            wanted = item.spec.loadBalancerIP
            if item.spec.type != "LoadBalancer":
                assert not addresses
                assert not item.metadata.finalizers
            elif not addresses:
                assert wanted not in POOL or wanted in held
                assert wanted or held == set(POOL)
            else:
                assert len(addresses) == 1
                # As in Kubernetes a Service keeps the address that it has while it cannot get another.
                assert wanted in ("", addresses[0]) or wanted not in POOL or wanted in held
                announcer = item.metadata.annotations.get(ANNOUNCED_BY, "")
                assert announcer in able if able else not announcer

    async def act(self, action: tuple[Any, ...]) -> None:
        name, *values = action
        # Names that are taken, and objects that are gone.
        with contextlib.suppress(ApiError):
            await getattr(self, name)(*values)

    async def create(self, number: int, wanted: str) -> None:
        await self.cluster.create(service(f"s{number}", type="LoadBalancer", loadBalancerIP=wanted))

    async def want(self, number: int, wanted: str) -> None:
        await self.cluster.change(kinds.SERVICE, f"s{number}", lambda item: setattr(item.spec, "loadBalancerIP", wanted))

    async def delete(self, number: int) -> None:
        await self.cluster.delete(kinds.SERVICE, f"s{number}")

    async def retype(self, number: int, type_: str) -> None:
        await self.cluster.change(kinds.SERVICE, f"s{number}", lambda item: setattr(item.spec, "type", type_))

    async def exclude(self, node: str, excluded: bool) -> None:
        def change(item: Any) -> None:
            item.metadata.labels.pop(EXCLUDED, None)
            if excluded:
                item.metadata.labels[EXCLUDED] = ""

        await self.cluster.change(kinds.NODE, node, change)


# Two Services that come at once see the same address free; then one that wants what another has, which is released.
RACE = [(("create", 0, ""), 0), (("create", 1, ""), 0), (("create", 2, POOL[0]), 3), (("delete", 0), 0), (("restart",), 0)]


@settings(max_examples=50, deadline=None)
@example(RACE)
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 12)), min_size=5, max_size=30))
def test_addresses_are_given_once_and_used(actions: list[tuple[tuple[Any, ...], int]]) -> None:
    """Requests overlap with each other and with the controller."""
    asyncio.run(World().play(actions))
