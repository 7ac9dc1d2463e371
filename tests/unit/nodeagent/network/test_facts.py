"""How the wanted and the actual state of a node's network differ."""

from __future__ import annotations

from dataclasses import replace

from nodeagent.network import facts, plan
from nodeagent.network.facts import Facts, Wanted
from nodeagent.network.guard import Binding
from nodeagent.network.interface import Deviation, Node

NODE = Node(("10.244.1.0/24",), ("10.244.0.0/16",), "192.0.2.1", "0a:00:00:00:00:01", 7, 4789)
TABLE = plan.Table(
    frozenset({plan.Route("10.244.2.0/24", "10.244.2.0"), plan.Route("10.244.0.0/16")}),
    frozenset({plan.Neighbour("10.244.2.0", "0a:00:00:00:00:02")}), frozenset({plan.Fdb("0a:00:00:00:00:02", "192.0.2.2")}),
)  # fmt: skip
WANTED = Wanted(
    NODE,
    1450,
    "eth0",
    "0a:58:0a:f4:01:01",
    {"ipv4/ip_forward": "1"},
    (Binding("pnc1", "0a:58:0a:f4:01:05", "10.244.1.5"),),
    TABLE,
)


def changed(*without: str, **values: str) -> list[Deviation]:
    """The differences when items (without their kind) are missing, or have other values ("_" for "" and " ")."""
    want = facts.wanted(WANTED)
    have: Facts = {key: value for key, value in want.items() if key[1] not in without}
    names = {item.replace(" ", "_"): key for key in want for item in [key[1]]}
    have |= {names[name]: value for name, value in values.items()}
    return facts.differences(want, have)


def test_nothing_differs_where_all_is_as_wanted() -> None:
    assert changed() == []


def test_a_missing_entry_and_another_value_differ() -> None:
    assert changed("10.244.2.0/24") == [Deviation("route", "10.244.2.0/24", "via 10.244.2.0 dev pinnace-vx", "")]
    assert changed(pinnace0_mtu="1500") == [Deviation("link", "pinnace0 mtu", "1450", "1500")]
    assert changed(pnc1_learning="1") == [Deviation("port", "pnc1 learning", "0", "1")]


def test_a_missing_device_is_one_difference() -> None:
    """Not one for each of its settings, addresses and entries."""
    of_port = [key[1] for key in facts.wanted(WANTED) if "pnc1" in key[1]]
    assert changed(*of_port) == [Deviation("port", "pnc1", "veth", "")]
    of_bridge = [key[1] for key in facts.wanted(WANTED) if "pinnace0" in key[1] and key[0] != "sysctl"]
    assert changed(*of_bridge) == [Deviation("link", "pinnace0", "bridge", "")]


def test_entries_that_should_not_be_there_differ() -> None:
    have = facts.wanted(WANTED) | {("route", "10.244.9.0/24"): "via 10.244.9.0 dev pinnace-vx"}
    assert facts.differences(facts.wanted(WANTED), have) == [
        Deviation("route", "10.244.9.0/24", "", "via 10.244.9.0 dev pinnace-vx")
    ]


def test_more_addresses_on_our_devices_differ() -> None:
    have = facts.wanted(WANTED) | {("address", "pinnace0 10.244.9.1/32"): "present"}
    assert facts.differences(facts.wanted(WANTED), have) == [Deviation("address", "pinnace0 10.244.9.1/32", "", "present")]


def test_the_cluster_dns_address_and_routes_to_services_are_wanted() -> None:
    """In the families of the node's pods."""
    node = replace(NODE, service_cidrs=("10.96.0.0/12", "fd00:1::/112"))
    want = facts.wanted(replace(WANTED, node=node, dns=("10.96.0.10", "fd00:1::a")))
    assert set(facts.differences(want, facts.wanted(WANTED))) == {
        Deviation("address", "lo 10.96.0.10/32", "present", ""),
        Deviation("address", "lo fd00:1::a/128", "present", ""),
        Deviation("route", "10.96.0.0/12 dev pinnace0", "present", ""),
    }


def test_more_ports_are_not_ours_to_judge() -> None:
    have = facts.wanted(WANTED) | {("port", "pnc9"): "veth"}
    assert facts.differences(facts.wanted(WANTED), have) == []
