"""Which subnet a node gets, and that no two get the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from typing import Any

import pytest

from controlplane import flags
from controlplane.dispatcher import network
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.subnets import Subnets
from controlplane.podranges import Range
from controlplane.serviceranges import pool_range
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import formats, kinds
from pinnace.clock import VirtualClock
from pinnace.errors import Invalid, TooManyRequests
from pinnace.ipfamilies import Family

TX: Any = None


def reserve(cidrs: Subnets, node: str) -> str:
    return cidrs.reserve(TX, node, now=0)


def test_each_node_gets_the_lowest_free_subnet() -> None:
    """Also of those that removed nodes had."""
    cidrs = Subnets(Range("10.244.0.0/14", 24))
    assert [reserve(cidrs, f"n{number}") for number in range(3)] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
    for number in range(3):
        cidrs.observe(f"n{number}", f"10.244.{number}.0/24")
    cidrs.observe("n1", "")
    assert (reserve(cidrs, "n3"), reserve(cidrs, "n4")) == ("10.244.1.0/24", "10.244.3.0/24")


def test_the_default_holds_a_thousand_nodes() -> None:
    """1,024, each with the 254 addresses that nodes had before."""
    cidrs = Subnets(*network.DEFAULT.ranges)
    assert len({reserve(cidrs, f"n{number}") for number in range(1024)}) == 1024
    with pytest.raises(TooManyRequests, match="1024 nodes are the most"):
        reserve(cidrs, "last")


def test_a_reservation_is_kept_until_it_is_observed_or_released() -> None:
    """A transaction that is tried again gets the same subnet; another join at that moment another."""
    cidrs = Subnets(Range("10.244.0.0/22", 24))
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
    cidrs = Subnets(Range("10.244.0.0/16", 26))
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
    planes = [Subnets(Range("10.244.0.0/22", 24), claims=True) for _ in range(2)]

    async def join(cidrs: Subnets, name: str) -> str:
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


def test_a_node_of_two_families_has_a_subnet_of_each() -> None:
    """Each of its range's lowest; a node may have one family alone, from before the cluster had two."""
    cidrs = PodCIDRs(Range("10.244.0.0/22", 24), Range("fd00:244::/48", 64))
    assert cidrs.clusters == ["10.244.0.0/22", "fd00:244::/48"]
    cidrs.observe("old", ["10.244.0.0/24"])
    assert cidrs.reserve(TX, "n1", now=0) == ["10.244.1.0/24", "fd00:244::/64"]
    cidrs.observe("n1", ["10.244.1.0/24", "fd00:244::/64"])
    assert cidrs.reserve(TX, "n2", now=0) == ["10.244.2.0/24", "fd00:244:0:1::/64"]
    cidrs.release("n2")
    cidrs.observe("n1", ())
    assert cidrs.reserve(TX, "n3", now=0) == ["10.244.1.0/24", "fd00:244::/64"]


def test_the_smaller_range_bounds_the_cluster() -> None:
    """And says which one it is."""
    cidrs = PodCIDRs(Range("10.244.0.0/16", 24), Range("fd00:244::/63", 64))
    for number in range(2):
        cidrs.reserve(TX, f"n{number}", now=0)
    with pytest.raises(TooManyRequests, match=r"fd00:244::/63: 2 nodes"):
        cidrs.reserve(TX, "n2", now=0)


async def test_a_claim_of_an_ipv6_subnet_has_a_name_that_kubernetes_allows() -> None:
    clock = VirtualClock()
    store = await Store.open(MemoryBackend(), clock)
    serving = asyncio.ensure_future(store.serve())
    cidrs = Subnets(Range("fd00:244::/48", 64), claims=True)
    subnet = await store.update(lambda tx: cidrs.reserve(tx, "n1", now=0))
    [claim] = store.view(lambda tx: list(tx.list(kinds.LEASE, "kube-system")))
    assert (subnet, claim.spec.holderIdentity) == ("fd00:244::/64", "n1")
    assert not formats.dns_subdomain(claim.metadata.name), claim.metadata.name
    serving.cancel()
    await store.close()


async def settled(
    store: Store, cidr: str = "", bits: dict[Family, int] | None = None, needed: Collection[Family] = ()
) -> network.Network:  # fmt: skip
    cidrs = tuple(filter(None, cidr.split(",")))
    return await store.update(lambda tx: network.settle(tx, cidrs=cidrs, bits=bits or {}, needed=needed, now=0))


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
        assert (
            await settled(store, "10.9.0.0/16", {4: 25}) == await settled(store) == network.Network((Range("10.9.0.0/16", 25),))
        )
        with pytest.raises(Invalid, match="--node-bits"):
            await settled(store, "10.9.0.0/28")
        serving.cancel()
        await store.close()


async def test_a_cluster_gets_a_second_family() -> None:
    """Shares that the flags leave out are those of before, or the default of the family."""
    store = await Store.open(MemoryBackend(), VirtualClock())
    serving = asyncio.ensure_future(store.serve())
    await settled(store, "10.9.0.0/16", {4: 25})
    dual = network.Network((Range("10.9.0.0/16", 25), Range("fd00:9::/48", 64)))
    assert await settled(store, "10.9.0.0/16,fd00:9::/48") == await settled(store) == dual
    assert (await settled(store, "fd00:9::/56", {6: 72})).ranges == (Range("fd00:9::/56", 72),)
    for cidr, bits in (("fd00:9::/48", 80), ("fd00:9::/48", 40), ("fd00:9::/120", 127)):
        with pytest.raises(Invalid, match="--node-cidr-mask-size-ipv6"):
            await settled(store, cidr, {6: bits})
    serving.cancel()
    await store.close()


async def test_a_prefix_length_of_a_family_that_the_cluster_lacks_is_refused() -> None:
    """Whether the cluster's range is that of a flag or not; --node-bits is for the family that it has."""
    store = await Store.open(MemoryBackend(), VirtualClock())
    serving = asyncio.ensure_future(store.serve())
    text = "--node-cidr-mask-size-ipv6 needs an IPv6 range, and the cluster's pod CIDR is 10.244.0.0/14: set --cluster-cidr"
    own, either = (flags.parse(["--advertise=192.0.2.1", flag]) for flag in ("--node-cidr-mask-size-ipv6=64", "--node-bits=25"))
    with pytest.raises(Invalid, match=re.escape(text)):
        await settled(store, bits=own.share_bits, needed=own.family_bits)
    assert (await settled(store, bits=either.share_bits, needed=either.family_bits)).ranges == (Range("10.244.0.0/14", 25),)
    serving.cancel()
    await store.close()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"cluster-cidr": "10.0.0.0/8,10.9.0.0/16", "node-bits": "24,24"},
        {"cluster-cidr": "x", "node-bits": "y"},
        {"cluster-cidr": "10.0.0.0/8", "node-bits": "999"},
    ],
)
async def test_a_broken_record_is_named_and_flags_mend_it(data: dict[str, str]) -> None:
    """It is a ConfigMap, which people may edit."""
    store = await Store.open(MemoryBackend(), VirtualClock())
    serving = asyncio.ensure_future(store.serve())
    record = kinds.CONFIG_MAP.cls(metadata={"name": network.NAME, "namespace": network.NAMESPACE}, data=data)
    await store.update(lambda tx: tx.put(kinds.CONFIG_MAP, record))
    with pytest.raises(Invalid, match=r"cluster-network|--node-bits"):
        await settled(store)
    assert await settled(store, "10.9.0.0/16", {4: 24}) == await settled(store)
    serving.cancel()
    await store.close()


def test_ranges_of_services_and_load_balancers_fit_the_clusters_range_of_pods() -> None:
    """Also if that is of no flag, but the cluster's own."""
    network.check_ranges(network.DEFAULT, ["10.96.0.0/12", "fd00::/108"], [])
    text = "--service-cluster-ip-range 10.245.0.0/24 overlaps with the cluster's pod CIDR 10.244.0.0/14"
    with pytest.raises(Invalid, match=re.escape(text)):
        network.check_ranges(network.DEFAULT, ["10.96.0.0/12", "10.245.0.0/24"], [])
    pool = [pool_range("192.0.2.1"), pool_range("10.245.0.0/24")]
    with pytest.raises(Invalid, match=r"--load-balancer-pool 10\.245\.0\.0-10\.245\.0\.255 overlaps with the cluster's pod"):
        network.check_ranges(network.DEFAULT, ["10.96.0.0/12"], pool)
    with pytest.raises(Invalid, match=r"--service-cluster-ip-range fd00::/108 is IPv6, and the cluster's pod CIDR"):
        network.check_ranges(network.DEFAULT, ["fd00::/108"], [])
