"""A node's network that is compared and repaired in the real kernel: part by part, each by itself."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.network import plan, repairs
from nodeagent.network.facts import Facts
from nodeagent.network.interface import Comparison, Deviation, Errors, NetworkError, Node, Peer
from nodeagent.network.links import Link
from nodeagent.network.overlay import OverlayNetwork, device_of
from nodeagent.network.repairs import Part, State
from tests.support.networks import alone, pinned

NODE = Node(
    ("10.244.1.0/24", "fd00:244:0:1::/64"), ("10.244.0.0/16", "fd00:244::/48"), "10.9.0.1", "02:00:00:00:00:01", 1, 4789,
    service_cidrs=("10.96.0.0/12", "fd00:96::/112"),
)  # fmt: skip
VMAC = "02:00:00:00:01:02"
ENCRYPTED = replace(NODE, encrypt=True)
PEER = Peer("n2", ("10.244.2.0/24", "fd00:244:0:2::/64"), "10.9.0.2", VMAC)
PORT, OTHER = device_of("u1"), "02:00:00:00:00:99"
WAY, MORE = "via 10.244.9.0 dev pinnace-vx onlink proto 80", "02:00:00:00:00:98"
# By item: commands after which something is there that should not be.
ADDITIONS = {
    "address pinnace0 10.244.9.1/32": "ip address add 10.244.9.1/32 dev pinnace0",
    "address pinnace0 10.244.1.1/32": "ip address add 10.244.1.1/32 dev pinnace0",
    "address pinnace-vx fd00:244::9/128": "ip address add fd00:244::9/128 dev pinnace-vx",
    "neighbour 10.244.1.99 dev pinnace0": f"ip neigh add 10.244.1.99 lladdr {OTHER} dev pinnace0 nud permanent",
    "neighbour fd00:244:0:1::99 dev pinnace0": f"ip neigh add fd00:244:0:1::99 lladdr {OTHER} dev pinnace0 nud permanent",
    "neighbour 10.244.9.0 dev pinnace-vx": f"ip neigh add 10.244.9.0 lladdr {OTHER} dev pinnace-vx nud permanent",
    f"fdb {OTHER} dev {PORT}": f"bridge fdb add {OTHER} dev {PORT} master static",
    f"fdb {MORE} dev {PORT}": f"bridge fdb add {MORE} dev {PORT} master dynamic",
    f"fdb {OTHER} dev pinnace-vx": f"bridge fdb add {OTHER} dev pinnace-vx dst 10.9.0.9",
    f"fdb {MORE} dev pinnace-vx": f"bridge fdb add {MORE} dev pinnace-vx dst 10.9.0.9 port 4790 vni 7",
    "fdb 00:00:00:00:00:00 dev pinnace-vx": "bridge fdb append 00:00:00:00:00:00 dev pinnace-vx dst 10.9.0.8; "
    "bridge fdb append 00:00:00:00:00:00 dev pinnace-vx dst 10.9.0.9",
    f"fdb {VMAC} dev pinnace-vx": f"bridge fdb replace {VMAC} dev pinnace-vx dst 10.9.0.2 port 4790",
    "route 10.244.9.0/24": f"ip route add 10.244.9.0/24 {WAY}",
    "route 10.244.8.0/24": "ip route add 10.244.8.0/24 dev pinnace-vx proto 80",
    "route 10.244.7.0/24": "ip route add 10.244.7.0/24 dev pinnace-vx proto 80 scope global",
    "route 10.244.6.0/24": "ip route add unreachable 10.244.6.0/24 proto 80",
    "route 10.244.6.0/25": "ip route add blackhole 10.244.6.0/25 proto 80",
    "route 10.244.0.0/16": "ip route add prohibit 10.244.0.0/16 proto 80",
    "route 10.244.2.0/24 metric 50": f"ip route add 10.244.2.0/24 {WAY} metric 50",
    "route 10.244.2.0/24 table 1000": f"ip route add 10.244.2.0/24 {WAY} table 1000",
    "route 10.244.2.0/24 tos 16": f"ip route add tos 0x10 10.244.2.0/24 {WAY}",
    "route fd00:244:0:2::/64 metric 50": "ip route add fd00:244:0:2::/64 via fd00:244:0:9:: dev pinnace-vx onlink proto 80 metric 50",
    "route fd00:244:0:9::/64 metric 1024": "ip route add fd00:244:0:9::/64 dev pinnace-vx proto 80",
    "route 10.97.0.0/16 dev pinnace0": "ip route add 10.97.0.0/16 dev pinnace0 proto 80",
    "route 10.96.0.0/12 metric 5 dev pinnace0": "ip route add 10.96.0.0/12 dev pinnace0 proto 80 metric 5",
    "nft inet pinnace element peers_4 10.9.0.66": "nft add element inet pinnace peers_4 '{ 10.9.0.66 }'",
    f"nft bridge pinnace element bindings {PORT} . {OTHER} . 10.244.1.99": "nft add element bridge pinnace bindings "
    f"'{{ {PORT} . {OTHER} . 10.244.1.99 }}'",
}


def shell(line: str) -> str:
    """In the network namespace of the calling thread."""
    return subprocess.run(["sh", "-ec", line], check=True, capture_output=True, text=True, timeout=30).stdout


@contextlib.asynccontextmanager
async def node(folder: Path, netns: Path) -> AsyncIterator[OverlayNetwork]:
    """With a peer and a pod, of both address families."""
    shell(
        f"ip link set lo up; ip link add under0 type bridge; ip link set under0 up; ip address add {NODE.address}/24 dev under0"
    )
    network = OverlayNetwork(folder / "forwarding", folder)
    try:
        await network.setup(NODE)
        await network.sync([PEER])
        await network.serve_names(["10.96.0.10"])
        await network.attach("u1", netns, ["10.244.1.2", "fd00:244:0:1::2"])
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


def state() -> list[str]:
    """Of all but nftables, without what the kernel adds by itself."""
    commands = [
        f"ip {family} {what}" for family in ("-4", "-6") for what in ("route show table all", "neigh show nud permanent")
    ]
    lines = shell("; ".join([*commands, "bridge fdb show", "ip -o address"])).splitlines()
    return sorted(line for line in lines if not re.search("fe80:|ff00:|^33:33:|^01:00:5e:", line))


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


@pytest.mark.root
def test_additions_are_removed(on_node: OnNode) -> None:
    """Each is named and deleted by one repair, after which all is as before; also all of them at once."""

    async def check(network: OverlayNetwork, line: str, items: set[str], before: list[str]) -> None:
        shell(line)
        assert items <= await found(network), line
        assert (await network.repair()).errors == [], line
        assert await found(network) == set(), line
        assert state() == before, line

    async def work(network: OverlayNetwork) -> None:
        before = state()
        for item, line in ADDITIONS.items():
            await check(network, line, {item}, before)
        await check(network, "; ".join(ADDITIONS.values()), set(ADDITIONS), before)

    on_node(work)


@pytest.mark.root
def test_what_the_host_has_put_in_the_way_is_named_and_stays(on_node: OnNode) -> None:
    """A route to a part of another node's pods, and devices of other kinds by the names of ours."""

    async def work(network: OverlayNetwork) -> None:
        for line, removal, clash in (
            (
                "ip route add 10.244.2.0/25 dev under0",
                "ip route del 10.244.2.0/25",
                "has the host's route 10.244.2.0/25 dev under0",
            ),
            *(
                (
                    f"ip link del {name}; ip link add {name} type veth peer name other0",
                    f"ip link del {name}",
                    f"has a device {name}",
                )
                for name in ("pinnace0", "pinnace-vx")
            ),
        ):
            shell(line)
            for comparison in (await network.verify(), await network.repair(), await network.repair()):
                assert clash in comparison.clash
            assert clash in (await network.verify()).clash
            shell(removal)
            assert (await network.repair()).clash == ""
            assert await found(network) == set()

    on_node(work)


class Tunnelled:
    """The kernel of a node of an encrypted cluster that has lost its tunnel, and whose bridge is down."""

    def lower(self, node: Node) -> Link:
        assert node == ENCRYPTED
        return Link(0, "pinnace-wg", "", 1440, 0, "", {})

    def verify_tunnel(self, lower: Link, wanted: object) -> list[Deviation]:
        return [Deviation("tunnel", lower.name, "wireguard", "")]

    def read(self) -> plan.Table:
        return plan.Table()

    def wanted(self, node: Node, *_: object, lower: Link | None, dns: object) -> Facts:
        return {("link", "pinnace0 state"): "up", ("link", "pinnace-vx dev"): lower.name if lower else ""}

    def inspect(self, *_: object) -> Facts:
        return {("link", "pinnace0 state"): "down", ("link", "pinnace-vx dev"): "pinnace-wg"}


def test_a_tunnel_that_differs_hides_no_other_difference(tmp_path: Path) -> None:
    """It comes first."""
    state = State(tmp_path, node=replace(ENCRYPTED, address="fd70:6e63::1"), underlay=ENCRYPTED)
    comparison = repairs.verify(Tunnelled(), state)
    assert comparison == Comparison(
        [Deviation("tunnel", "pinnace-wg", "wireguard", ""), Deviation("link", "pinnace0 state", "up", "down")]
    )


@pytest.mark.root
@pytest.mark.parametrize("damage", ["", f"ip link del {PORT}", "ip neigh flush dev pinnace0 nud permanent"])
def test_a_pod_of_an_earlier_agent_is_attached_again(tmp_path: Path, damage: str) -> None:
    """One that is resumed before the network is set up, as where the agent's first setup fails; also if it was damaged while no
    agent ran."""

    async def inside(netns: Path) -> None:
        async with node(tmp_path, netns):
            before = state()
        shell(damage)
        network = OverlayNetwork(tmp_path / "forwarding", tmp_path)
        network.resume("u1", netns, ["10.244.1.2", "fd00:244:0:1::2"], ())
        await network.setup(NODE)
        await network.serve_names(["10.96.0.10"])
        assert bool(await found(network)) == bool(damage)
        assert (await network.repair()).errors == []
        shell(f"ip link del {PORT}")
        assert (await network.repair()).errors == []
        while await found(network):
            # The kernel lets the port forward a moment later.
            assert await found(network) <= {f"port {PORT} state"}
        # A pair of devices that was made without an agent's knowledge has another MAC address.
        masked = [sorted(re.sub("([0-9a-f]{2}:){5}..", "MAC", line) for line in lines) for lines in (state(), before)]
        assert masked[0] == masked[1]
        await network.close()

    with pinned(tmp_path / "net") as netns:
        alone(lambda: asyncio.run(inside(netns)))


def test_a_part_that_fails_does_not_hold_back_the_others() -> None:
    """Neither one that cannot be compared, nor one that cannot be repaired; what was found is known of each."""
    repaired = list[str]()

    def part(name: str, *, compared: str = "", partly: str = "", refusal: str = "") -> Part:
        def verify() -> Comparison:
            if compared:
                raise NetworkError(compared)
            return Comparison([Deviation(name, "item", "a", "b")], Errors([NetworkError(partly)] if partly else []))

        def repair(found: list[Deviation]) -> None:
            if refusal:
                raise NetworkError(refusal)
            repaired.extend(item.kind for item in found)

        return Part(verify, repair)

    parts = [part("one", compared="1"), part("two", refusal="2"), part("three", partly="3"), part("four")]
    for fix, errors in ((True, ["1", "2", "3"]), (False, ["1", "3"])):
        comparison = repairs.compare(parts, fix=fix)
        assert [item.kind for item in comparison.found] == ["two", "three", "four"]
        assert [str(error) for error in comparison.errors] == errors
    assert repaired == ["three", "four"]


@pytest.mark.parametrize(("fails_again", "left"), [(False, ["two"]), (True, ["one", "two"])])
def test_what_a_failed_repair_has_done_is_repaired(fails_again: bool, left: list[str]) -> None:
    """The part is compared again; all counts as left where that fails, too."""
    found = [Deviation("route", name, "present", "") for name in ("one", "two")]
    results = [Comparison(list(found)), Comparison(found[1:])]

    def verify() -> Comparison:
        if fails_again and len(results) == 1:
            raise NetworkError("no answer")
        return results.pop(0)

    def repair(found: list[Deviation]) -> None:
        raise NetworkError("no permission")

    comparison = repairs.compare([Part(verify, repair)], fix=True)
    assert [item.item for item in comparison.left] == left
    assert [item.item for item in comparison.repaired] == [name for name in ("one", "two") if name not in left]
    assert [str(error) for error in comparison.errors] == ["no permission"]


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
