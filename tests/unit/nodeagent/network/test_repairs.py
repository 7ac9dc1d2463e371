"""A node's network that is compared and repaired in the real kernel: part by part, each by itself."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from nodeagent.network import repairs
from nodeagent.network.interface import Comparison, Deviation, Errors, NetworkError, Node, Peer
from nodeagent.network.overlay import OverlayNetwork, device_of
from nodeagent.network.repairs import Part
from tests.support.networks import alone, pinned

NODE = Node(("10.244.1.0/24",), ("10.244.0.0/16",), "10.9.0.1", "02:00:00:00:00:01", 1, 4789, service_cidrs=("10.96.0.0/12",))
PEER = Peer("n2", ("10.244.2.0/24",), "10.9.0.2", "02:00:00:00:01:02")
PORT = device_of("u1")


def shell(line: str) -> str:
    """In the network namespace of the calling thread."""
    return subprocess.run(["sh", "-ec", line], check=True, capture_output=True, text=True, timeout=30).stdout


@contextlib.asynccontextmanager
async def node(folder: Path, netns: Path) -> AsyncIterator[OverlayNetwork]:
    """With a peer and a pod."""
    shell(
        f"ip link set lo up; ip link add under0 type bridge; ip link set under0 up; ip address add {NODE.address}/24 dev under0"
    )
    network = OverlayNetwork(folder / "forwarding", folder)
    try:
        await network.setup(NODE)
        await network.sync([PEER])
        await network.serve_names(["10.96.0.10"])
        await network.attach("u1", netns, ["10.244.1.2"])
        assert await found(network) == set()
        yield network
    finally:
        await network.close()


@pytest.fixture
def on_node(tmp_path: Path) -> Callable[[Callable[[OverlayNetwork], Awaitable[None]]], None]:
    """Call a function with the network of a node, in a network namespace of its own."""

    def run(work: Callable[[OverlayNetwork], Awaitable[None]]) -> None:
        async def inside(netns: Path) -> None:
            async with node(tmp_path, netns) as network:
                await work(network)

        with pinned(tmp_path / "net") as netns:
            alone(lambda: asyncio.run(inside(netns)))

    return run


OnNode = Callable[[Callable[[OverlayNetwork], Awaitable[None]]], None]


async def found(network: OverlayNetwork) -> set[str]:
    """Kinds and items of the differences."""
    comparison = await network.verify()
    assert comparison.errors == []
    return {f"{item.kind} {item.item}" for item in comparison.found}


def rules() -> list[str]:
    """Of nftables, without the order of tables and chains."""
    return sorted(shell("nft -s list ruleset").splitlines())


def kinds(comparison: Comparison) -> set[str]:
    return {item.kind for item in comparison.found}


@pytest.mark.root
def test_rules_are_repaired_on_a_node_without_its_address(on_node: OnNode) -> None:
    """As when nftables.service flushes the ruleset while DHCP has no answer: guard, bindings and policies are back at once, and
    so are entries, which do not depend on the underlay's device."""

    async def work(network: OverlayNetwork) -> None:
        before = rules()
        shell(f"ip address del {NODE.address}/24 dev under0; nft flush ruleset; ip route del {PEER.pod_cidrs[0]}")
        compared = await network.verify()
        assert kinds(compared) == {"nft", "route"}
        repaired = await network.repair()
        assert kinds(repaired) == {"nft", "route"}
        for comparison in (compared, repaired):
            assert [str(error) for error in comparison.errors] == [f"no device of this host has the address {NODE.address}"]
        assert rules() == before
        shell(f"ip address add {NODE.address}/24 dev under0")
        assert await found(network) == set()

    on_node(work)


def test_a_part_that_fails_does_not_hold_back_the_others() -> None:
    """Neither one that cannot be compared, nor one that cannot be repaired; what was found is known of each."""
    repaired = list[str]()

    def part(name: str, *, compared: str = "", partly: str = "", mended: str = "") -> Part:
        def verify() -> Comparison:
            if compared:
                raise NetworkError(compared)
            return Comparison([Deviation(name, "item", "a", "b")], Errors([NetworkError(partly)] if partly else []))

        def repair(found: list[Deviation]) -> None:
            if mended:
                raise NetworkError(mended)
            repaired.extend(item.kind for item in found)

        return Part(verify, repair)

    parts = [part("one", compared="1"), part("two", mended="2"), part("three", partly="3"), part("four")]
    for fix, errors in ((True, ["1", "2", "3"]), (False, ["1", "3"])):
        comparison = repairs.compare(parts, fix=fix)
        assert [item.kind for item in comparison.found] == ["two", "three", "four"]
        assert [str(error) for error in comparison.errors] == errors
    assert repaired == ["three", "four"]


def test_a_part_without_a_difference_is_not_repaired() -> None:
    def repair(found: list[Deviation]) -> None:
        raise NetworkError("repaired")

    assert repairs.compare([Part(Comparison, repair)], fix=True) == Comparison()


def test_errors_of_a_comparison_are_raised_together() -> None:
    comparison = Comparison()
    comparison.errors.check()

    def fail(text: str) -> None:
        raise NetworkError(text)

    for text in ("one", "two", "three"):
        comparison.errors.attempt(lambda text=text: fail(text))
    with pytest.raises(NetworkError, match=r"^one\b") as caught:
        comparison.errors.check()
    assert caught.value.__notes__ == ["two", "three"]
