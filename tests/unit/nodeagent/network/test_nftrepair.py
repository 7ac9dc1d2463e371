"""The node's tables compared with the programmed ones, element by element, in a network namespace of the test's own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from nodeagent.network import dnsrules, guard
from nodeagent.network.elements import TABLE, Element
from nodeagent.network.interface import Deviation, NetworkError
from nodeagent.network.loadbalancer import rules
from nodeagent.network.nftables import Nftables
from nodeagent.network.nftrepair import NftRepair
from nodeagent.network.ruleset import Ruleset
from nodeagent.network.services import skeleton
from nodeagent.network.services.model import Facts
from nodeagent.network.services.table import ServiceTable
from pinnace.core.v1.service_pb2 import Service
from tests.support.networks import alone
from tests.support.services import HERE, service, slice_

pytestmark = pytest.mark.root
FACTS = Facts(HERE, "z1", ("10.244.1.0/24",), ("10.96.0.0/12", "fd00:1::/112"), ("10.96.0.10",))
MAC = "0a:58:0a:f4:01:01"
STICKY = service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 100}})
SEEN, FRONTEND = "services_cluster_seen0g37a8eec1ce19687d_4", "10.96.0.20 . tcp . 80"


FRAGMENTS = [rules.fragment(), skeleton.fragment(FACTS, ("192.0.2.0/24",)), dnsrules.fragment("pinnace0")]


def services(item: Service, **slices: str) -> ServiceTable:
    """One with one endpoint."""
    table = ServiceTable(FACTS)
    table.set_service("default/web", item)
    table.set_slice("default/web-1", slice_(slices.get("endpoint", "10.244.1.5"), addressType=slices.get("type", "IPv4")))
    table.compute(10)
    return table


def programmed(
    item: Service, work: Callable[[Nftables, NftRepair], None], *, ruleset_of: type[Ruleset] = Ruleset, **slices: str
) -> None:  # fmt: skip
    """Call `work` with the tables of a node that has a Service with one endpoint."""

    def run() -> None:
        table = services(item, **slices)
        with contextlib.closing(Nftables()) as own, contextlib.closing(Nftables()) as other:
            ruleset = ruleset_of(own)
            ruleset.ensure(FRAGMENTS)
            ruleset.declare("services", table.elements())
            own.run(guard.bridge_rules(TABLE, guard.PORTS, (), mac=MAC))
            own.run(guard.port_rules(TABLE))
            with contextlib.closing(NftRepair(own, ruleset, tuple, lambda: MAC)) as repair:
                assert repair.verify() == []
                work(other, repair)

    alone(run)


def test_clients_that_no_rule_has_added_are_deleted() -> None:
    """They would keep their endpoint for longer than the Service has it. Others stay."""

    def work(other: Nftables, repair: NftRepair) -> None:
        known = f"{{ 10.244.1.9 . {FRONTEND} timeout 100s }}"
        other.run_text(f"add element inet pinnace {SEEN} {known}")
        assert repair.verify() == []
        other.run_text(f"add element inet pinnace {SEEN} {{ 10.244.1.8 . {FRONTEND} }}")
        other.run_text("add element inet pinnace dnsclients_4 { 10.244.1.7 timeout 1h }")
        found = repair.verify()
        assert sorted(found, key=lambda item: item.item) == [
            Deviation("nft", "inet pinnace element dnsclients_4 10.244.1.7", "", "timeout 3600 s"),
            Deviation("nft", f"inet pinnace element {SEEN} 10.244.1.8 . {FRONTEND}", "", "timeout 86400 s"),
        ]
        repair.repair(found)
        assert repair.verify(thorough=True) == []
        other.run_text(f"get element inet pinnace {SEEN} {known.replace(' timeout 100s', '')}")

    programmed(STICKY, work)


def test_sets_and_maps_of_others_do_not_prevent_a_repair() -> None:
    """Their keys may be of types that an agent cannot write; they are no difference while no rule of ours refers to them."""

    def work(other: Nftables, repair: NftRepair) -> None:
        other.run_text("add set inet pinnace mine { type ether_addr; flags timeout; timeout 1h; }")
        other.run_text("add map inet pinnace yours { type ipv4_addr : classid; flags timeout; timeout 1h; }")
        other.run_text("add element inet pinnace mine { 02:00:00:00:00:09 }")
        other.run_text("add element inet pinnace yours { 192.0.2.9 : 1:2 }")
        assert repair.verify() == []
        other.run_text(f"delete element inet pinnace services_4 {{ {FRONTEND} }}")
        found = repair.verify()
        assert [(item.item, item.actual) for item in found] == [(f"inet pinnace element services_4 {FRONTEND}", "")]
        repair.repair(found)
        assert repair.verify(thorough=True) == []

    programmed(STICKY, work)


class Rejecting(Ruleset):
    """One whose elements of packets the kernel rejects."""

    def expire(self, items: Iterable[Element]) -> None:
        super().expire([*items, Element("services_nothing_4", ("192.0.2.1",))])


def test_clients_that_cannot_be_deleted_do_not_prevent_a_repair() -> None:
    def work(other: Nftables, repair: NftRepair) -> None:
        other.run_text("add element inet pinnace dnsclients_4 { 10.244.1.7 timeout 1h }")
        other.run_text(f"delete element inet pinnace services_4 {{ {FRONTEND} }}")
        with pytest.raises(NetworkError, match="No such file"):
            repair.repair(repair.verify())
        assert repair.verify() == []

    programmed(STICKY, work, ruleset_of=Rejecting)


def test_an_address_that_contains_one_of_ipv4_is_no_difference() -> None:
    """nft lists ::102:304 as ::1.2.3.4."""

    def work(other: Nftables, repair: NftRepair) -> None:
        assert "::1.2.3.4" in str(other.read("map inet pinnace services_6"))
        assert repair.verify(thorough=True) == []

    item = service(ip="fd00:1::20", externalIPs=["::102:304"], ipFamilies=["IPv6"])
    programmed(item, work, endpoint="fd00:244::5", type="IPv6")


CLIENTS = 65536
ROOT = Path(__file__).parents[4]
MEASURED = "from tests.unit.nodeagent.network import test_nftrepair as own; own.measure({})"


def network() -> str:
    """That of this thread."""
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


def measure(count: int) -> None:
    """Print how many KiB a process needs that takes over and compares tables with so many clients in a set."""

    def work(other: Nftables, repair: NftRepair) -> None:
        keys = ", ".join(f"172.16.{n >> 8}.{n & 255} . {FRONTEND} timeout 100s" for n in range(count))
        command = f"add element inet pinnace {SEEN} {{ {keys} }}\n" if count else ""
        subprocess.run(["nsenter", f"--net={network()}", "nft", "-f", "-"], input=command, text=True, check=True)
        # The peak counts from here on.
        Path("/proc/self/clear_refs").write_text("5")
        with contextlib.closing(Nftables()) as nft:
            again = Ruleset(nft)
            again.ensure(FRAGMENTS)
            again.declare("services", services(STICKY).elements())
            with contextlib.closing(NftRepair(nft, again, tuple, lambda: MAC)) as compared:
                assert compared.verify() == []
        [peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        print(peak)

    programmed(STICKY, work)


def test_a_comparison_does_not_hold_the_clients_of_services() -> None:
    """Sets that packets fill have so many for each endpoint: to list them took a minute and hundreds of megabytes, and an agent
    that had just started did nothing else meanwhile."""

    def peak(count: int) -> int:
        command = [sys.executable, "-c", MEASURED.format(count)]
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120).stdout)

    assert peak(CLIENTS) - peak(0) < 64 << 10
