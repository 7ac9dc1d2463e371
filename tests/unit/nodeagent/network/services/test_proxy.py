"""Services in the real kernel, by way of the loop that programs them: collected, retried, resumed; and connections that it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import ExitStack, closing
from typing import Any, TypeVar

import pytest

from nodeagent.control.assignment import Change
from nodeagent.network import conntrack, links, rtnetlink
from nodeagent.network.conntrack import NETFILTER, Ends, packed
from nodeagent.network.elements import Key
from nodeagent.network.interface import NetworkError
from nodeagent.network.loadbalancer import rules
from nodeagent.network.nftables import Nftables
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Address
from nodeagent.network.ruleset import Ruleset
from nodeagent.network.services import flows, skeleton
from nodeagent.network.services.model import Facts, Target
from nodeagent.network.services.proxy import BATCH, FIRST_RETRY, ServiceProxy
from nodeagent.network.services.table import Health
from nodeagent.network.services.wanted import Frontend
from pinnace.clock import VirtualClock, settle
from tests.support.awaiting import eventually
from tests.support.networks import alone
from tests.support.services import HERE, service, slice_
from tests.unit.nodeagent.network.test_ruleset import nft

pytestmark = pytest.mark.root
T = TypeVar("T")
FACTS = Facts(HERE, "", ("10.244.1.0/24",), ("10.96.0.0/12",))


def tracked() -> set[Ends | None]:
    with NetlinkSocket(NETFILTER) as kernel:
        return {conntrack.ends_of(message.body) for message in kernel.dump(conntrack.list_flows())}


class Recorded(Ruleset):
    """`deleted`: of each call."""

    def __init__(self, nft: Nftables) -> None:
        super().__init__(nft)
        self.deleted: list[Mapping[str, Collection[Key]]] = []

    def delete_clients(self, keys: Mapping[str, Collection[Key]]) -> None:
        self.deleted.append(keys)
        super().delete_clients(keys)


class Kernel:
    """The thread is the test's own; `failures` are those of the next visits, but for `spared` before them. `tracked`: the
    connections at the end of each visit."""

    def __init__(self) -> None:
        self.nft = Nftables()
        self.ruleset = Recorded(self.nft)
        self.visits, self.failures, self.spared = 0, 0, 0
        self.tracked: list[set[Ends | None]] = []

    async def visit(self, work: Callable[[], T]) -> T:
        self.visits += 1
        if self.failures and not self.spared:
            self.failures -= 1
            raise NetworkError("no answer")
        self.spared = max(self.spared - 1, 0)
        found = work()
        self.tracked.append(tracked())
        return found


class Node:
    def __init__(self) -> None:
        self.kernel, self.clock = Kernel(), VirtualClock()
        self.health: list[Health] = []
        self.proxy = ServiceProxy(self.kernel, self.clock, self._set_health)
        self.proxy.all_known()

    async def _set_health(self, items: list[Health]) -> None:
        self.health = items

    def configure(self) -> None:
        self.kernel.ruleset.ensure([rules.fragment(), skeleton.fragment(FACTS, ("192.0.2.1",))])
        self.proxy.configure(FACTS)

    def put(self, *items: Any) -> None:
        kind = {True: "Service", False: "EndpointSlice"}
        self.proxy.changed(
            [Change(f"{kind[hasattr(i, 'spec')]}/default/{i.metadata.name}", None, i) for i in items]
        )  # fmt: skip

    def remove(self, kind: str, name: str) -> None:
        self.proxy.changed([Change(f"{kind}/default/{name}", object(), None)])

    def addresses(self) -> set[str]:
        """Cluster IPs that lead somewhere, in the kernel."""
        found = self.kernel.ruleset.listing().elements
        return {item.key[0] for item in found["services_4"]}


def running(test: Callable[[Node], Awaitable[None]]) -> None:
    """In a network namespace of its own."""

    async def main() -> None:
        node = Node()
        task = asyncio.ensure_future(node.proxy.run())
        try:
            await test(node)
        finally:
            task.cancel()
            node.kernel.nft.close()

    alone(lambda: asyncio.run(main()))


def web(number: int, **spec: Any) -> list[Any]:
    return [service(f"s{number}", ip=f"10.96.0.{number + 20}", **spec), slice_("10.244.1.5", of=f"s{number}")]


def test_objects_from_before_the_network_is_set_up_are_programmed_with_it() -> None:
    async def test(node: Node) -> None:
        node.proxy.restore(lambda kind: [item for item in web(0) if hasattr(item, "spec") == (kind == "Service")])
        node.put(*web(1))
        await settle()
        assert node.kernel.visits == 0
        assert not node.proxy.serving.is_set()
        node.configure()
        await settle()
        assert node.addresses() == {"10.96.0.20", "10.96.0.21"}
        assert node.proxy.serving.is_set()
        node.remove("Service", "s0")
        await settle()
        assert node.addresses() == {"10.96.0.21"}

    running(test)


def test_many_changes_are_portions_and_the_first_ones_are_declared_together() -> None:
    """What an earlier agent left stays until all Services are known."""

    async def test(node: Node) -> None:
        node.kernel.ruleset.ensure([rules.fragment(), skeleton.fragment(FACTS, ("192.0.2.1",))])
        nft("add element inet pinnace services_none_4 { 10.96.0.99 . tcp . 80 : drop }")
        node.put(*(item for number in range(200) for item in web(number)), *(item for n in range(200, 230) for item in web(n)))
        extra = [service(f"x{number}", ip=f"10.97.0.{number}") for number in range(1, BATCH)]
        node.put(*extra)
        node.configure()
        await settle()
        assert len(node.addresses()) == 230
        assert node.kernel.visits == 2
        assert "10.96.0.99" not in nft("list map inet pinnace services_none_4")

    running(test)


def test_what_an_earlier_agent_left_stays_until_all_services_have_come() -> None:
    """They come in messages of a bounded size, between which nothing is pending."""

    async def test(node: Node) -> None:
        node.kernel.ruleset.ensure([rules.fragment(), skeleton.fragment(FACTS, ("192.0.2.1",))])
        nft("add element inet pinnace services_none_4 { 10.96.0.99 . tcp . 80 : drop }")
        node.proxy._complete = False
        for number in range(3):
            node.put(*web(number))
            node.configure()
            await settle()
            assert "10.96.0.99" in nft("list map inet pinnace services_none_4")
        node.proxy.all_known()
        await settle()
        assert "10.96.0.99" not in nft("list map inet pinnace services_none_4")
        assert node.addresses() == {"10.96.0.20", "10.96.0.21", "10.96.0.22"}

    running(test)


def test_a_failure_is_retried_and_loses_nothing() -> None:
    """Also one of the kernel's: an element that the agent wants to remove is not there any more."""

    async def test(node: Node) -> None:
        node.configure()
        node.put(*web(0))
        await settle()
        node.kernel.failures = 2
        node.put(*web(1))
        await settle()
        assert node.addresses() == {"10.96.0.20"}
        await node.clock.advance(FIRST_RETRY)
        await node.clock.advance(2 * FIRST_RETRY)
        await settle()
        assert node.addresses() == {"10.96.0.20", "10.96.0.21"}
        nft("delete element inet pinnace services_4 { 10.96.0.20 . tcp . 80 }")
        node.remove("Service", "s0")
        await settle()
        await node.clock.advance(FIRST_RETRY)
        await settle()
        assert node.addresses() == {"10.96.0.21"}
        assert (node.proxy.counters.failures, node.kernel.ruleset.stale) == (3, False)

    running(test)


def test_problems_of_a_service_are_logged_in_few_words(caplog: pytest.LogCaptureFixture) -> None:
    async def test(node: Node) -> None:
        node.configure()
        node.put(service("s", externalIPs=[f"127.0.0.{number}" for number in range(1, 9)]))
        await settle()

    running(test)
    [text] = [record.getMessage() for record in caplog.records if "service_problems" in record.getMessage()]
    assert text.endswith("external IPs: invalid address '127.0.0.5'; 3 more")


def test_health_checks_follow() -> None:
    async def test(node: Node) -> None:
        node.configure()
        node.put(*web(0, type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32000))
        await settle()
        assert node.health == [Health(32000, "default", "s0", 1)]

    running(test)


def test_clients_of_a_slot_that_another_endpoint_gets_are_deleted() -> None:
    """Of that Service alone."""

    async def test(node: Node) -> None:
        node.configure()
        sticky = {"sessionAffinity": "ClientIP"}
        addresses = ["10.244.1.5", "10.244.1.6", "10.244.1.7"]
        node.put(service("s", ip="10.96.0.20", **sticky), slice_(*addresses, of="s"))
        await settle()
        for ip in ("10.96.0.20", "10.96.0.21"):
            nft(f"add element inet pinnace services_cluster_seen1g37a8eec1ce19687d_4 {{ 10.244.1.9 . {ip} . tcp . 80 }}")
        node.put(slice_(addresses[0], addresses[2], of="s"))
        await settle()
        assert "10.96.0.20" in nft("list set inet pinnace services_cluster_seen1g37a8eec1ce19687d_4")
        node.put(slice_(*addresses[:1], addresses[2], "10.244.1.8", of="s"))
        await settle()
        found = nft("list set inet pinnace services_cluster_seen1g37a8eec1ce19687d_4")
        assert "10.96.0.20" not in found
        assert "10.96.0.21" in found

    running(test)


def test_clients_of_many_frontends_are_read_once() -> None:
    """Those of a slot are in one set, which may have 65,536. Without such clients nothing is read."""

    async def test(node: Node) -> None:
        node.configure()
        ports = [{"name": f"p{number}", "port": number, "protocol": "TCP"} for number in range(80, 90)]
        targets = [{"name": item["name"], "port": 8080, "protocol": "TCP"} for item in ports]
        node.put(
            service("s", sessionAffinity="ClientIP", externalIPs=["192.0.2.9"], ports=ports),
            slice_("10.244.1.5", "10.244.1.6", of="s", ports=targets),
        )
        await settle()
        container = "services_cluster_seen0g37a8eec1ce19687d_4"
        nft(f"add element inet pinnace {container} {{ 10.244.1.9 . 192.0.2.9 . tcp . 80, 10.244.1.9 . 10.96.0.20 . tcp . 89 }}")
        assert not any(node.kernel.ruleset.deleted)
        node.put(slice_("10.244.1.7", "10.244.1.6", of="s", ports=targets))
        await settle()
        [found] = filter(None, node.kernel.ruleset.deleted)
        assert {name: len(keys) for name, keys in found.items()} == {container: 20}
        assert "10.244.1.9" not in nft(f"list set inet pinnace {container}")

    running(test)


def test_connections_are_ended_after_the_change_and_in_another_thread() -> None:
    """Not in a visit, for which pods that are attached would wait; and again after a failure. Then a later change follows."""

    async def test(node: Node) -> None:
        with NetlinkSocket() as kernel:
            kernel.run(links.change(1, up=True))
        node.configure()
        await settle()
        send()
        [before] = tracked()
        ports = [{"name": "", "port": 53, "protocol": "UDP"}]
        node.kernel.spared, node.kernel.failures = 1, 1
        node.put(service("s", externalIPs=["192.0.2.9"], ports=ports), slice_("10.244.1.5", of="s", ports=ports))
        await settle()
        assert node.kernel.visits == 3
        assert before in tracked()
        await node.clock.advance(FIRST_RETRY)
        await eventually(lambda: before not in tracked())
        assert all(before in found for found in node.kernel.tracked[1:])
        await eventually(lambda: node.proxy.counters.flows == 1)
        node.put(*web(1))
        await eventually(lambda: "10.96.0.21" in node.addresses())

    def send() -> None:
        nft("table ip t {\nchain o {\ntype nat hook output priority -100\n}\n}")
        with NetlinkSocket() as kernel:
            kernel.run(rtnetlink.add_address(Address(1, "192.0.2.9", 32)))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.sendto(b"x", ("192.0.2.9", 53))

    running(test)


def test_connections_end_after_a_repair_by_another_concern_has_changed_their_service() -> None:
    """The transaction of the Service failed, as its element had been deleted."""

    async def test(node: Node) -> None:
        ports = [{"name": "", "port": 53, "protocol": "UDP"}]
        with NetlinkSocket() as kernel:
            kernel.run(links.change(1, up=True), rtnetlink.add_address(Address(1, "10.244.1.5", 32)))
            kernel.run(rtnetlink.add_address(Address(1, "192.0.2.9", 32)))
        node.configure()
        node.put(service("s", externalIPs=["192.0.2.9"], ports=ports), slice_("10.244.1.5", of="s", ports=ports))
        await settle()
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.sendto(b"x", ("192.0.2.9", 53))
        [before] = [ends for ends in tracked() if ends is not None and ends.protocol == socket.IPPROTO_UDP]
        nft("delete element inet pinnace services_4 { 10.96.0.20 . udp . 53 }")
        node.remove("Service", "s")
        await settle()
        assert node.proxy.counters.failures == 1
        node.kernel.ruleset.repair()
        assert before in tracked()
        await node.clock.advance(FIRST_RETRY)
        await eventually(lambda: before not in tracked())

    running(test)


def test_connections_of_endpoints_that_have_gone_are_ended() -> None:
    """Those to other addresses and ports, and those that lead to an endpoint that is there, stay."""
    rules = "table ip t { chain o { type nat hook output priority -100; udp dport 53 dnat to 127.0.0.1:5300; }; }"

    def clean(live: flows.Live) -> int:
        with ExitStack() as sockets:
            return flows.cleaning(live, sockets)()

    def work() -> None:
        with NetlinkSocket() as kernel:
            kernel.run(links.change(1, up=True))
        nft(rules.replace("; }; }", "\n}\n}").replace("; udp", ";\n udp"))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            for port in (53, 54):
                client.sendto(b"x", ("127.0.0.9", port))
        led, other = (
            Ends(socket.IPPROTO_UDP, packed("127.0.0.9", port), packed(*to))
            for port, to in ((53, ("127.0.0.1", 5300)), (54, ("127.0.0.9", 54)))
        )
        assert {led, other} <= tracked()
        frontend = Frontend(4, "127.0.0.9", "udp", 53)
        assert clean({}) == 0
        assert clean({frontend: frozenset({Target("127.0.0.1", 5300)})}) == 0
        assert clean({Frontend(4, "127.0.0.9", "udp", 55): frozenset(), Frontend(4, "", "udp", 53): frozenset()}) == 0
        assert clean({Frontend(4, "127.0.0.9", "sctp", 53): frozenset(), Frontend(6, "", "udp", 53): frozenset()}) == 0
        assert clean({frontend: frozenset({Target("127.0.0.2", 5300)})}) == 1
        assert tracked() >= {other}
        assert led not in tracked()
        assert clean({Frontend(4, "", "udp", 54): frozenset()}) == 0
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.sendto(b"x", ("127.0.0.1", 54))
        assert clean({Frontend(4, "", "udp", 54): frozenset()}) == 1

    alone(work)
