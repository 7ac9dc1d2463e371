"""Slices and Endpoints are what a simple reference computes from all pods, whatever happened before."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from controlplane import conditions
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import RandomIds, VirtualClock, settle
from pinnace.errors import ApiError
from tests.support import objects
from tests.support.cluster import TURNS, running
from tests.support.servicepods import Backends, endpoints, service, slices

PICK = st.integers(0, 2)
LABELS = st.sampled_from([{"app": "web"}, {"app": "web", "tier": "a"}, {"app": "db"}, {}])
SELECTORS = st.sampled_from([{"app": "web"}, {"app": "web", "tier": "a"}, {"tier": "a"}])
PORTS = st.sampled_from([8080, 9090])
ACTIONS = st.one_of(
    st.tuples(st.just("run"), PICK, LABELS, PORTS, st.booleans()),
    st.tuples(st.just("ready"), PICK, st.booleans()),
    st.tuples(st.just("label"), PICK, LABELS),
    st.tuples(st.just("delete"), PICK),
    st.tuples(st.just("stop"), PICK),
    st.tuples(st.just("serve"), PICK, SELECTORS, st.booleans()),
    st.tuples(st.just("unserve"), PICK),
    st.tuples(st.just("spoil"), PICK),
    st.tuples(st.just("restart")),
)


class World:
    """Users and agents on one store, over restarts of the control plane."""

    def __init__(self) -> None:
        self.backend, self.clock, self.ids = MemoryBackend(), VirtualClock(), RandomIds(seed=1)
        self.address = 0

    async def play(self, actions: list[tuple[Any, ...]]) -> None:
        rest = list(actions)
        first = True
        while rest or first:
            async with running(backend=self.backend, clock=self.clock, ids=self.ids) as self.cluster:
                self.backends = Backends(self.cluster)
                if first:
                    await self.backends.join("n1")
                self.cluster.alive.add("n1")
                first = False
                while rest and (action := rest.pop(0))[0] != "restart":
                    # Names that are taken, and objects that are gone.
                    with contextlib.suppress(ApiError, AssertionError):
                        await getattr(self, action[0])(*action[1:])
                # Rejected and delayed writes come due.
                await self.cluster.advance(15, beating=("n1",))
                await settle(TURNS)
                self.check()

    async def run(self, number: int, labels: dict[str, str], port: int, ready: bool) -> None:
        self.address += 1
        ports = objects.container(ports=[{"name": "serve", "containerPort": port}])
        ip = f"10.244.0.{self.address}"
        await self.backends.run(f"p{number}", ip, labels=labels, ready=ready, containers=[ports])

    async def ready(self, number: int, value: bool) -> None:
        pod = self.cluster.get(kinds.POD, f"p{number}")
        await self.backends.report(f"p{number}", pod.status.podIP if pod else "", ready=value)

    async def label(self, number: int, labels: dict[str, str]) -> None:
        def change(pod: Any) -> None:
            pod.metadata.labels.clear()
            pod.metadata.labels.update(labels)

        await self.cluster.change(kinds.POD, f"p{number}", change)

    async def delete(self, number: int) -> None:
        await self.cluster.delete(kinds.POD, f"p{number}")

    async def stop(self, number: int) -> None:
        pod = self.cluster.get(kinds.POD, f"p{number}")
        assert pod is not None
        assert pod.metadata.deletionTimestamp.seconds
        await self.backends.stop(f"p{number}")

    async def serve(self, number: int, selector: dict[str, str], eager: bool) -> None:
        """Make a Service, or change the selector of the one that is there."""
        port = {"name": "http", "port": 80, "targetPort": "serve"}
        if self.cluster.get(kinds.SERVICE, f"s{number}") is None:
            await self.cluster.create(service(f"s{number}", port, selector=selector, publishNotReadyAddresses=eager))
            return

        def change(item: Any) -> None:
            item.spec.selector.clear()
            item.spec.selector.update(selector)
            item.spec.publishNotReadyAddresses = eager

        await self.cluster.change(kinds.SERVICE, f"s{number}", change)

    async def unserve(self, number: int) -> None:
        await self.cluster.delete(kinds.SERVICE, f"s{number}")

    async def spoil(self, number: int) -> None:
        """A user changes or deletes a slice."""
        every = self.cluster.names(kinds.ENDPOINT_SLICE, namespace="default")
        if not every:
            return
        name = every[number % len(every)]
        if number % 2:
            await self.cluster.delete(kinds.ENDPOINT_SLICE, name)
        else:
            await self.cluster.change(kinds.ENDPOINT_SLICE, name, lambda item: item.ClearField("endpoints"))

    def check(self) -> None:
        pods = [row.parse() for row in self.cluster.store.rows(kinds.POD, "default")]
        names = self.cluster.names(kinds.SERVICE, namespace="default")
        for name in names:
            item = self.cluster.get(kinds.SERVICE, name)
            if not item.spec.selector:
                continue
            assert endpoints(self.cluster, name) == dict(self.expected(item, pods))
            assert self.addresses(name) == self.expected_addresses(item, pods)
            assert slices(self.cluster, name)
        others = {
            row.parse().metadata.labels["kubernetes.io/service-name"] for row in self.cluster.store.rows(kinds.ENDPOINT_SLICE)
        }
        assert others <= set(names), "slices of a Service that is gone"

    def expected(self, item: Any, pods: list[Any]) -> Any:
        for pod in pods:
            if selected(item, pod):
                ready, leaving = is_ready(pod), bool(pod.metadata.deletionTimestamp.seconds)
                states = {
                    "ready": item.spec.publishNotReadyAddresses or (ready and not leaving), "serving": ready, "terminating": leaving
                }  # fmt: skip
                yield pod.metadata.name, (pod.status.podIP, " ".join(state for state, true in states.items() if true))

    def addresses(self, name: str) -> set[tuple[str, int, bool]]:
        found = self.cluster.get(kinds.ENDPOINTS, name)
        assert found is not None
        return {
            (address.ip, port.port, ready)
            for subset in found.subsets
            for port in subset.ports
            for ready, addresses in ((True, subset.addresses), (False, subset.notReadyAddresses))
            for address in addresses
        }

    def expected_addresses(self, item: Any, pods: list[Any]) -> set[tuple[str, int, bool]]:
        eager = item.spec.publishNotReadyAddresses
        return {
            (pod.status.podIP, pod.spec.containers[0].ports[0].containerPort, eager or is_ready(pod))
            for pod in pods
            if selected(item, pod) and (eager or not pod.metadata.deletionTimestamp.seconds)
        }


def selected(item: Any, pod: Any) -> bool:
    matches = item.spec.selector.items() <= pod.metadata.labels.items()
    return bool(matches and pod.status.podIP and pod.status.phase == "Running")


def is_ready(pod: Any) -> bool:
    found = conditions.find(pod.status, "Ready")
    return found is not None and found.status == "True"


# What every run begins with, so that few actions are without effect.
START: list[tuple[Any, ...]] = [
    ("serve", 0, {"app": "web"}, False), ("serve", 1, {"tier": "a"}, True),
    ("run", 0, {"app": "web", "tier": "a"}, 8080, True), ("run", 1, {"app": "web"}, 9090, True),
]  # fmt: skip
# A Service that changes its selector while the control plane is down would leave slices of the pods that it selected before.
MOVED = [
    ("serve", 0, {"app": "web"}, False), ("run", 0, {"app": "web"}, 8080, True), ("restart",), ("serve", 0, {"tier": "a"}, False),
    ("label", 0, {"tier": "a"}), ("restart",), ("delete", 0),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@example(MOVED)
@given(st.lists(ACTIONS, min_size=8, max_size=40))
def test_endpoints_are_those_of_the_reference(actions: list[tuple[Any, ...]]) -> None:
    """After each restart and at the end, when the controllers have come to rest."""
    asyncio.run(World().play([*START, *actions]))
