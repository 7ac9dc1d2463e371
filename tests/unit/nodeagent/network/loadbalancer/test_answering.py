"""Addresses of load balancers in the real kernel: what was changed by others is found, and put back."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from nodeagent.network import links, rtnetlink
from nodeagent.network.interface import Deviation, NetworkError
from nodeagent.network.loadbalancer import routes, rules
from nodeagent.network.loadbalancer.answering import Answering
from nodeagent.network.netlink import Netlink
from nodeagent.network.nftables import Nftables
from nodeagent.network.nlsocket import Message, NetlinkSocket, Request
from nodeagent.network.rtnetlink import Address
from nodeagent.network.ruleset import Ruleset
from tests.support.networks import alone

pytestmark = pytest.mark.root
OWN, FOUR, SIX, OTHER = "10.9.0.1", "10.9.0.64", "2001:db8::c0", "10.9.0.65"


def on_node(work: Callable[[Netlink, Ruleset], None]) -> None:
    """`work` on a host with two devices, one of which has the node's address."""

    def run() -> None:
        with NetlinkSocket() as kernel:
            for name in ("under0", "under1"):
                kernel.run(links.add(name, "bridge"))
                [message] = kernel.run(links.get(name=name))
                index = links.read(message).index
                address = [rtnetlink.add_address(Address(index, OWN, 24))] if name == "under0" else []
                kernel.run(links.change(index, up=True), *address)
        with contextlib.closing(Netlink()) as netlink, contextlib.closing(Nftables()) as nft:
            ruleset = Ruleset(nft)
            ruleset.ensure([rules.fragment()])
            work(netlink, ruleset)

    alone(run)


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def guarded(ruleset: Ruleset) -> set[str]:
    """Addresses at which only Services answer."""
    return {item.key[0] for found in ruleset.listing().elements.values() for item in found}


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (f"route del local {FOUR} table local", [(FOUR, "under0", "present", "")]),
        (f"address del {SIX}/128 dev under0", [(SIX, "under0", "present", "")]),
        (f"route add local {OTHER} dev under0 table local proto 80", [(OTHER, "under0", "", "present")]),
        (
            "route add local 10.9.0.128/28 dev under0 table local proto 80",
            [("10.9.0.128/28 table 255", "under0", "", "present")],
        ),
        (f"route add local {OTHER} dev under0 table 77 proto 80", [(f"{OTHER}/32 table 77", "under0", "", "present")]),
        (
            f"route replace local {FOUR} dev under1 table local proto 80",
            [(FOUR, "under0", "present", ""), (FOUR, "under1", "", "present")],
        ),
    ],
)
def test_damage_is_a_difference_and_repaired(damage: str, expected: list[tuple[str, str, str, str]]) -> None:
    """Not by the next look at the same addresses, which would hide it."""

    def work(netlink: Netlink, ruleset: Ruleset) -> None:
        answering = Answering(ruleset)
        answering.set(netlink, OWN, [FOUR, SIX])
        assert answering.verify(netlink, OWN).found == []
        ip(*damage.split())
        answering.set(netlink, OWN, [FOUR, SIX])
        found = answering.verify(netlink, OWN).found
        assert found == [Deviation("balancer", f"{address} dev {device}", *how) for address, device, *how in expected]
        answering.repair(netlink, OWN)
        assert answering.verify(netlink, OWN).found == []
        assert netlink.answered() == {(FOUR, "under0"), (SIX, "under0")}
        assert guarded(ruleset) == {FOUR, SIX}

    on_node(work)


def test_addresses_of_an_earlier_agent_stay_until_they_are_set() -> None:
    """They are no difference; then they are removed with their rules, and nothing is left of any."""

    def work(netlink: Netlink, ruleset: Ruleset) -> None:
        Answering(ruleset).set(netlink, OWN, [FOUR, SIX])
        answering = Answering(ruleset)
        assert answering.verify(netlink, OWN).found == []
        answering.repair(netlink, OWN)
        assert netlink.answered() == {(FOUR, "under0"), (SIX, "under0")}
        answering.set(netlink, OWN, [SIX])
        assert (netlink.answered(), guarded(ruleset)) == ({(SIX, "under0")}, {SIX})
        answering.set(netlink, OWN, [])
        assert (netlink.answered(), guarded(ruleset)) == (frozenset(), set())

    on_node(work)


def test_addresses_follow_the_nodes_own() -> None:
    """To another device."""

    def work(netlink: Netlink, ruleset: Ruleset) -> None:
        answering = Answering(ruleset)
        answering.set(netlink, OWN, [FOUR, SIX])
        ip("address", "del", f"{OWN}/24", "dev", "under0")
        # A difference of the devices.
        assert answering.verify(netlink, OWN).found == []
        ip("address", "add", f"{OWN}/24", "dev", "under1")
        assert answering.set(netlink, OWN, [FOUR, SIX]).name == "under1"
        assert netlink.answered() == {(FOUR, "under1"), (SIX, "under1")}
        assert answering.verify(netlink, OWN).found == []

    on_node(work)


def test_an_address_that_the_host_has_is_left_out() -> None:
    """Its daemons would not answer there any more."""

    def work(netlink: Netlink, ruleset: Ruleset) -> None:
        Answering(ruleset).set(netlink, OWN, [FOUR, OWN])
        assert (netlink.answered(), guarded(ruleset)) == ({(FOUR, "under0")}, {FOUR})

    on_node(work)


class OldKernel(NetlinkSocket):
    """As before Linux 5.18: who has added an address is not stored."""

    _PROTOCOL = b"\x05\x00\x0b\x00"

    def run(self, *requests: Request) -> list[Message]:
        return super().run(
            *(replace(item, body=item.body.replace(self._PROTOCOL + b"\x50", self._PROTOCOL + b"\0")) for item in requests)
        )


def test_an_address_that_would_be_taken_for_the_host_s_own_is_refused() -> None:
    """And removed again: all that listens on the node would answer there."""

    def work(netlink: Netlink, ruleset: Ruleset) -> None:
        with OldKernel() as kernel:
            for _ in range(2):
                with pytest.raises(NetworkError, match=r"need Linux 5\.18"):
                    routes.sync(kernel, netlink.underlay(OWN).index, [FOUR, SIX])
                assert SIX not in ip("address")
            assert FOUR in ip("route", "show", "table", "local")
        assert SIX not in netlink.host_addresses()

    on_node(work)
