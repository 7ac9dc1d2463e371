"""Mirrors are what a simple reference computes from Endpoints and Services, whatever happened before."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import RandomIds, VirtualClock, settle
from pinnace.errors import ApiError
from tests.support import objects
from tests.support.cluster import TURNS, running
from tests.support.servicepods import service

MANAGED_BY, MIRROR = "endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
PICK = st.integers(0, 1)
ADDRESSES = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
SUBSET = st.fixed_dictionaries({
    "ready": st.sets(st.sampled_from(ADDRESSES)), "unready": st.sets(st.sampled_from(ADDRESSES)),
    "ports": st.sampled_from([(80,), (81,), (80, 81), (81, 80)]),
})  # fmt: skip
SUBSETS = st.lists(SUBSET, max_size=3)
ACTIONS = st.one_of(
    st.tuples(st.just("write"), PICK, SUBSETS, st.booleans()),
    st.tuples(st.just("write"), PICK, SUBSETS, st.just(value=False)),
    st.tuples(st.just("erase"), PICK),
    st.tuples(st.just("serve"), PICK, st.booleans()),
    st.tuples(st.just("unserve"), PICK),
    st.tuples(st.just("spoil"), PICK),
    st.tuples(st.just("restart")),
)
START: list[tuple[Any, ...]] = [("serve", 0, False), ("serve", 1, False)]


def fields(subset: dict[str, Any]) -> dict[str, Any]:
    """As in a manifest; an address is in one of the two lists."""
    unready = sorted(subset["unready"] - subset["ready"])
    ports = [{"name": f"p{port}", "port": port} for port in subset["ports"]]
    return {
        "addresses": [{"ip": ip} for ip in sorted(subset["ready"])], "notReadyAddresses": [{"ip": ip} for ip in unready], "ports": ports
    }  # fmt: skip


class World:
    """Users on one store, over restarts of the control plane."""

    def __init__(self) -> None:
        self.backend, self.clock, self.ids = MemoryBackend(), VirtualClock(), RandomIds(seed=1)

    async def play(self, actions: list[tuple[Any, ...]]) -> None:
        rest, first = list(actions), True
        while rest or first:
            first = False
            async with running(backend=self.backend, clock=self.clock, ids=self.ids) as self.cluster:
                while rest and (action := rest.pop(0))[0] != "restart":
                    # Names that are taken, and objects that are gone or invalid.
                    with contextlib.suppress(ApiError):
                        await getattr(self, action[0])(*action[1:])
                await settle(TURNS)
                self.check()

    async def write(self, number: int, subsets: list[dict[str, Any]], skip: bool) -> None:
        wanted = objects.make(
            kinds.ENDPOINTS, f"s{number}", meta={"labels": {SKIP: "true"} if skip else {"team": "red"}},
            subsets=[fields(subset) for subset in subsets if subset["ready"] | subset["unready"]],
        )  # fmt: skip
        if self.cluster.get(kinds.ENDPOINTS, f"s{number}") is None:
            await self.cluster.create(wanted)
            return

        def change(item: Any) -> None:
            item.ClearField("subsets")
            item.subsets.extend(wanted.subsets)
            item.metadata.labels.clear()
            item.metadata.labels.update(wanted.metadata.labels)

        await self.cluster.change(kinds.ENDPOINTS, f"s{number}", change)

    async def erase(self, number: int) -> None:
        await self.cluster.delete(kinds.ENDPOINTS, f"s{number}")

    async def serve(self, number: int, selects: bool) -> None:
        if self.cluster.get(kinds.SERVICE, f"s{number}") is None:
            await self.cluster.create(service(f"s{number}", selector={"app": "web"} if selects else {}))

    async def unserve(self, number: int) -> None:
        await self.cluster.delete(kinds.SERVICE, f"s{number}")

    async def spoil(self, number: int) -> None:
        """A user changes or deletes a mirror."""
        for name in self.cluster.names(kinds.ENDPOINT_SLICE, namespace="default")[:1]:
            if number:
                await self.cluster.delete(kinds.ENDPOINT_SLICE, name)
            else:
                await self.cluster.change(kinds.ENDPOINT_SLICE, name, lambda item: item.ClearField("endpoints"))

    def check(self) -> None:
        every = [row.parse() for row in self.cluster.store.rows(kinds.ENDPOINT_SLICE, "default")]
        found = {
            (item.metadata.labels["kubernetes.io/service-name"], item.addressType, tuple(sorted(port.port for port in item.ports))): {
                (endpoint.addresses[0], endpoint.conditions.ready) for endpoint in item.endpoints
            }
            for item in every
            if item.metadata.labels.get(MANAGED_BY) == MIRROR
        }  # fmt: skip
        assert found == self.expected()
        assert len(found) == sum(item.metadata.labels.get(MANAGED_BY) == MIRROR for item in every)

    def expected(self) -> dict[Any, set[tuple[str, bool]]]:
        found: dict[Any, dict[str, bool]] = {}
        for row in self.cluster.store.rows(kinds.ENDPOINTS, "default"):
            item = row.message
            owner = self.cluster.get(kinds.SERVICE, item.metadata.name)
            if owner is None or owner.spec.selector or SKIP in item.metadata.labels:
                continue
            for subset in item.subsets:
                ports = tuple(sorted(port.port for port in subset.ports))
                for ready, addresses in ((True, subset.addresses), (False, subset.notReadyAddresses)):
                    for address in addresses:
                        family = "IPv6" if ":" in address.ip else "IPv4"
                        # Of an address that is there twice the first counts.
                        found.setdefault((item.metadata.name, family, ports), {}).setdefault(address.ip, ready)
        return {key: set(addresses.items()) for key, addresses in found.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, min_size=4, max_size=20))
def test_mirrors_are_those_of_the_reference(actions: list[tuple[Any, ...]]) -> None:
    """After each restart and at the end, when the controllers have come to rest."""
    asyncio.run(World().play([*START, *actions]))
