"""Which subnet a node gets, and that no two get the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.dispatcher import network
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import VirtualClock
from pinnace.errors import Invalid, TooManyRequests

TX: Any = None


def reserve(cidrs: PodCIDRs, node: str) -> str:
    return cidrs.reserve(TX, node, now=0)


def test_each_node_gets_the_lowest_free_subnet() -> None:
    """Also of those that removed nodes had."""
    cidrs = PodCIDRs("10.244.0.0/14", 24)
    assert [reserve(cidrs, f"n{number}") for number in range(3)] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
    for number in range(3):
        cidrs.observe(f"n{number}", f"10.244.{number}.0/24")
    cidrs.observe("n1", "")
    assert (reserve(cidrs, "n3"), reserve(cidrs, "n4")) == ("10.244.1.0/24", "10.244.3.0/24")


def test_the_default_holds_a_thousand_nodes() -> None:
    """1,024, each with the 254 addresses that nodes had before."""
    cidrs = PodCIDRs(network.DEFAULT.cidr, network.DEFAULT.bits)
    assert len({reserve(cidrs, f"n{number}") for number in range(1024)}) == 1024
    with pytest.raises(TooManyRequests, match="1024 nodes are the most"):
        reserve(cidrs, "last")


def test_a_reservation_is_kept_until_it_is_observed_or_released() -> None:
    """A transaction that is tried again gets the same subnet; another join at that moment another."""
    cidrs = PodCIDRs("10.244.0.0/22", 24)
    assert reserve(cidrs, "n1") == reserve(cidrs, "n1") == "10.244.0.0/24"
    assert reserve(cidrs, "n2") == "10.244.1.0/24"
    cidrs.release("n1")
    assert reserve(cidrs, "n3") == "10.244.0.0/24"
    cidrs.observe("n3", "10.244.0.0/24")
    cidrs.release("n3")
    cidrs.reset()
    assert reserve(cidrs, "n4") == "10.244.0.0/24"


@pytest.mark.parametrize(
    ("cidr", "free"),
    [
        pytest.param("10.244.0.0/24", "10.244.1.0/26", id="shorter"),
        pytest.param("10.244.0.16/28", "10.244.0.64/26", id="longer"),
        pytest.param("10.0.0.0/8", None, id="all of it"),
        pytest.param("192.0.2.0/24", "10.244.0.0/26", id="elsewhere"),
        pytest.param("junk", "10.244.0.0/26", id="not a range"),
    ],
)  # fmt: skip
def test_ranges_of_another_length_are_not_overlapped(cidr: str, free: str | None) -> None:
    """The cluster had another --node-bits once, or a Node was created by hand."""
    cidrs = PodCIDRs("10.244.0.0/16", 26)
    cidrs.observe("n1", cidr)
    if free is None:
        with pytest.raises(TooManyRequests):
            reserve(cidrs, "n2")
    else:
        assert reserve(cidrs, "n2") == free


async def test_two_control_planes_give_out_no_subnet_twice() -> None:
    """Neither has seen the other's node yet: the claim in the transaction decides."""
    clock, backend = VirtualClock(), MemoryBackend()
    store = await Store.open(backend, clock)
    serving = asyncio.ensure_future(store.serve())
    planes = [PodCIDRs("10.244.0.0/22", 24, claims=True) for _ in range(2)]

    async def join(cidrs: PodCIDRs, name: str) -> str:
        def fn(tx: Any) -> str:
            node = kinds.NODE.cls()
            node.metadata.name, node.spec.podCIDR = name, cidrs.reserve(tx, name, now=clock.now())
            tx.put(kinds.NODE, node)
            return node.spec.podCIDR

        return await store.update(fn)

    found = await asyncio.gather(*(join(cidrs, f"n{number}") for number, cidrs in enumerate(planes * 2)))
    assert sorted(found) == [f"10.244.{number}.0/24" for number in range(4)]
    serving.cancel()
    await store.close()


async def settled(store: Store, cidr: str = "", bits: int = 0) -> network.Network:
    return await store.update(lambda tx: network.settle(tx, cidr=cidr, bits=bits, now=0))


async def test_a_cluster_keeps_its_network() -> None:
    """A new one gets the default, one from before there was a record keeps 10.244.0.0/16, and flags change it for good."""
    for nodes, expected in ((0, network.DEFAULT), (1, network.EARLIER)):
        store = await Store.open(MemoryBackend(), VirtualClock())
        serving = asyncio.ensure_future(store.serve())
        for number in range(nodes):
            node = kinds.NODE.cls()
            node.metadata.name = f"n{number}"
            await store.update(lambda tx, node=node: tx.put(kinds.NODE, node))
        assert await settled(store) == expected
        await store.update(lambda tx: tx.put(kinds.NODE, kinds.NODE.cls(metadata={"name": "later"})))
        assert await settled(store) == expected
        assert await settled(store, "10.9.0.0/16", 25) == await settled(store) == network.Network("10.9.0.0/16", 25)
        with pytest.raises(Invalid, match="--node-bits"):
            await settled(store, "10.9.0.0/28")
        serving.cancel()
        await store.close()


@pytest.mark.parametrize(
    "data", [{}, {"cluster-cidr": "x", "node-bits": "y"}, {"cluster-cidr": "10.0.0.0/8", "node-bits": "999"}]
)
async def test_a_broken_record_is_named_and_flags_mend_it(data: dict[str, str]) -> None:
    """It is a ConfigMap, which people may edit."""
    store = await Store.open(MemoryBackend(), VirtualClock())
    serving = asyncio.ensure_future(store.serve())
    record = kinds.CONFIG_MAP.cls(metadata={"name": network.NAME, "namespace": network.NAMESPACE}, data=data)
    await store.update(lambda tx: tx.put(kinds.CONFIG_MAP, record))
    with pytest.raises(Invalid, match=r"cluster-network|--node-bits"):
        await settled(store)
    assert await settled(store, "10.9.0.0/16", 24) == await settled(store)
    serving.cancel()
    await store.close()
