"""Control planes that share one etcd give out no address and no port of nodes twice, however their transactions interleave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane import resources
from controlplane.requests import verbs
from controlplane.serviceranges import AddressRange, PortRange, ServiceRanges
from controlplane.store import Store
from controlplane.store.etcd import EtcdBackend
from pinnace import codec, kinds
from pinnace.clock import RandomIds, SystemClock
from pinnace.errors import Internal
from tests.contract.steps import DEADLINE
from tests.support import objects

# Room for ten Services with two ports each, and for two that state their address.
RANGES = ServiceRanges((AddressRange("10.97.0.0/28"),), PortRange(31_000, 31_019))
PLANES, EACH = 3, 4


@asynccontextmanager
async def plane(endpoint: str, root: str, seed: int) -> AsyncIterator[tuple[Store, verbs.Call]]:
    backend, clock = EtcdBackend([endpoint], root=root, timeout=DEADLINE), SystemClock()
    store = await Store.open(backend, clock, resources.built_in(RANGES))
    serving = asyncio.ensure_future(store.serve())
    try:
        yield store, verbs.Call(clock.now(), RandomIds(seed=seed), "test")
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await store.close()


def service(name: str, **spec: Any) -> Any:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    value = {"metadata": {"name": name, "namespace": "default"}, "spec": {"type": "NodePort", "ports": ports, **spec}}
    return codec.decode(kinds.SERVICE.cls, value)


async def create(store: Store, call: verbs.Call, name: str, **spec: Any) -> Any:
    return await store.update(lambda tx: verbs.create(tx, kinds.SERVICE, service(name, **spec), call))


async def test_nothing_is_given_out_twice(etcd: str, request: pytest.FixtureRequest) -> None:
    """Three planes fill a small range at once; what does not fit is refused, and what is deleted is free for all of them."""
    root = f"/{request.node.name}"
    async with plane(etcd, root, 1) as one, plane(etcd, root, 2) as two, plane(etcd, root, 3) as three:
        planes = (one, two, three)
        await one[0].update(lambda tx: tx.put(kinds.NAMESPACE, objects.make(kinds.NAMESPACE, "default")))
        for store, _ in planes:
            await store.sync()
        wanted = [create(*planes[place], f"s{place}-{number}") for number in range(EACH) for place in range(PLANES)]
        made = await asyncio.gather(*wanted, return_exceptions=True)
        given = [item for item in made if not isinstance(item, BaseException)]
        addresses = [item.spec.clusterIP for item in given]
        ports = [port.nodePort for item in given for port in item.spec.ports]
        assert (len(addresses), len(set(addresses))) == (10, 10)
        assert len(ports) == len(set(ports)) == 20
        assert {type(item) for item in made} - {type(given[0])} == {Internal}
        stated = await asyncio.gather(
            *(create(*item, f"x{place}", type="ClusterIP", clusterIP="10.97.0.1") for place, item in enumerate(planes)),
            return_exceptions=True,
        )
        assert sorted(type(item).__name__ for item in stated) == ["Invalid", "Invalid", "Service"]
        gone = given[0].metadata.name
        await two[0].update(lambda tx: verbs.delete(tx, kinds.SERVICE, "default", gone, two[1]))
        await three[0].sync()
        again = await create(*three, "again")
        assert {port.nodePort for port in again.spec.ports} == {port.nodePort for port in given[0].spec.ports}
        await one[0].sync()
        with pytest.raises(Internal, match="failed to allocate a nodePort: range is full"):
            await create(*one, "more")
