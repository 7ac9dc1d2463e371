"""The kernel notifies of changes to the node's network, in a network namespace of the test's own."""

from __future__ import annotations

import asyncio
import itertools
import subprocess

import pytest

from nodeagent.network.nftables import Nftables
from nodeagent.network.notifications import Notifications
from tests.support.networks import alone

pytestmark = pytest.mark.root
MAC = "02:00:00:00:00:99"
# Each of one group of the kernel's: an address that is added has a route, too.
CHANGES = {
    "link": "ip link set dev0 mtu 1400",
    "neighbour of the bridge": f"ip neigh add 10.1.0.9 lladdr {MAC} dev pinnace0 nud permanent",
    "neighbour of the VXLAN device": f"ip neigh add 10.1.0.9 lladdr {MAC} dev pinnace-vx nud permanent",
    "neighbour of IPv6": f"ip neigh add fd00::9 lladdr {MAC} dev pinnace0 nud permanent",
    "forwarding entry": f"bridge fdb add {MAC} dev pinnace-vx dst 10.9.0.2",
    "entry of a port": f"bridge fdb add {MAC} dev pnc1 master static",
    "address": "ip address change 10.2.0.1/32 dev lo valid_lft 3000 preferred_lft 3000",
    "address of IPv6": "ip address change fd00::1/128 dev lo noprefixroute valid_lft 3000 preferred_lft 3000",
    "route": "ip route add 10.3.0.0/24 dev lo",
    "route of IPv6": "ip route add fd00:3::/64 dev lo",
    "route to nowhere": "ip route add blackhole 10.3.0.0/24",
    "table of nftables": "nft add table inet other",
    "rule of nftables": "nft add rule inet t c drop",
    "element of nftables": "nft add element inet t s '{ 10.1.0.1 }'",
}
FOREIGN = {
    "neighbour": f"ip neigh add 10.1.0.9 lladdr {MAC} dev dev0 nud permanent",
    "neighbour of IPv6": f"ip neigh add fd00::9 lladdr {MAC} dev dev0 nud reachable",
    "forwarding entry": f"bridge fdb add {MAC} dev ext0 master static",
}


def shell(line: str) -> None:
    subprocess.run(["sh", "-ec", line], check=True, timeout=30)


def _prepare() -> None:
    """Devices stay down: one that is up has notifications of its own, some of them later."""
    shell(
        "ip link set lo up; ip link add dev0 type bridge; ip link add ext0 type veth peer name ext1; ip link set ext0 master dev0; "
        "ip link add pinnace0 type bridge; ip link add pnc1 type veth peer name other0; ip link set pnc1 master pinnace0; "
        "ip link add pinnace-vx type vxlan id 7 dstport 4789 dev dev0; ip address add 10.2.0.1/32 dev lo; "
        "ip address add fd00::1/128 dev lo noprefixroute; "
        "nft add table inet t; nft add chain inet t c; nft 'add set inet t s { type ipv4_addr; }'"
    )


def notified(line: str) -> bool:
    """Whether a change is, in a namespace with devices of ours and a foreign one."""

    async def run() -> bool:
        called = list[bool]()
        notifications = Notifications(called.append)
        notifications.start()
        await _delivered()
        called.clear()
        shell(line)
        await _delivered()
        notifications.close()
        return True in called

    def prepared() -> bool:
        _prepare()
        return asyncio.run(run())

    return alone(prepared)


async def _delivered() -> None:
    """A notification is in its socket when the change has been made: the loop reads it in its next round."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_nodes_network_is_notified(change: str) -> None:
    assert notified(CHANGES[change])


@pytest.mark.parametrize("change", FOREIGN)
def test_neighbours_of_other_devices_are_not(change: str) -> None:
    """A busy host reports many."""
    assert not notified(FOREIGN[change])


def test_transactions_of_this_process_are_told_from_those_of_others() -> None:
    """By any of its threads; one of both is everyone's."""

    async def run() -> list[list[bool]]:
        called, found, library = list[bool](), list[list[bool]](), Nftables()
        notifications = Notifications(called.append)
        notifications.start()
        numbers = itertools.count(1)

        def own() -> None:
            library.run_text(f"add element inet t s {{ 10.1.0.{next(numbers)}, 10.1.0.{next(numbers)} }}")

        def other() -> None:
            shell(f"nft add element inet t s '{{ 10.1.0.{next(numbers)} }}'")

        for changes in ([own], [other], [own, other], [other, own]):
            for change in changes:
                change()
            await _delivered()
            found.append(called.copy())
            called.clear()
        notifications.close()
        library.close()
        return found

    def prepared() -> list[list[bool]]:
        _prepare()
        return asyncio.run(run())

    assert alone(prepared) == [[False], [True], [True], [True]]


def test_nothing_is_notified_after_the_end() -> None:
    async def run() -> None:
        called = list[bool]()
        notifications = Notifications(called.append)
        notifications.start()
        notifications.close()
        notifications.close()
        shell("ip link add dev0 type bridge")
        await _delivered()
        assert called == []

    alone(lambda: asyncio.run(run()))
