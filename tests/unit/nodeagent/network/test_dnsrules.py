"""Rules and addresses of the cluster DNS in the real kernel."""

from __future__ import annotations

import contextlib

import pytest

from nodeagent.network import dnsrules, links, rtnetlink
from nodeagent.network.netlink import Netlink
from nodeagent.network.nftables import Nftables
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Address
from nodeagent.network.ruleset import Ruleset
from tests.support.networks import alone

pytestmark = pytest.mark.root
SERVERS = ("10.96.0.10", "fd00:1::a")


def test_the_kernel_has_the_rules_as_they_are_wanted() -> None:
    """Read again, nothing differs; other addresses replace them."""

    def work() -> None:
        with contextlib.closing(Nftables()) as library:
            ruleset = Ruleset(library)
            ruleset.ensure([dnsrules.fragment("pinnace0", ("192.0.2.0/24", "198.51.100.7/32", "fd00:2::/64"))])
            ruleset.declare("dns", dnsrules.elements(SERVERS))
            assert ruleset.repair().size == 0
            assert ruleset.declare("dns", dnsrules.elements(SERVERS[:1])).size == 1
            found = {item for items in ruleset.listing().elements.values() for item in items}
            assert found == set(dnsrules.elements(SERVERS[:1]))

    alone(work)


def test_addresses_are_on_the_loopback_device_until_there_are_others() -> None:
    """Of both families; those that another program has assigned stay."""

    def work() -> None:
        with NetlinkSocket() as kernel:
            other = Address(1, "192.0.2.9", 32)
            kernel.run(links.change(1, up=True), rtnetlink.add_address(other))

            def present() -> set[tuple[str, int]]:
                found = map(rtnetlink.address_of, kernel.dump(rtnetlink.list_addresses()))
                return {(item.address, item.length) for item in found} - {("127.0.0.1", 8), ("::1", 128)}

            with contextlib.closing(Netlink()) as netlink:
                for _ in range(2):
                    netlink.serve_names(SERVERS)
                    assert present() == {("192.0.2.9", 32), ("10.96.0.10", 32), ("fd00:1::a", 128)}
                netlink.serve_names(("10.7.0.10",))
                assert present() == {("192.0.2.9", 32), ("10.7.0.10", 32)}

    alone(work)
