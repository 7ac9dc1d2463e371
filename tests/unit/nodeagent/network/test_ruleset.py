"""The table in the real kernel: made, changed by elements, compared, and taken over from an earlier agent or release."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from nodeagent.network import guard, nat
from nodeagent.network.elements import Difference, Element, Fragment, Part
from nodeagent.network.interface import HostPort, NetworkError, Node
from nodeagent.network.loadbalancer import rules
from nodeagent.network.nftables import Nftables
from nodeagent.network.ruleset import Ruleset
from nodeagent.network.services import skeleton
from nodeagent.network.services.model import facts_of
from pinnace.ipfamilies import Family
from tests.support.networks import alone

pytestmark = pytest.mark.root
PEERS = Fragment("peers", "set peers_4 { type ipv4_addr; }\nchain peers {\nip saddr @peers_4 accept\n}")
PORTS = Fragment(
    "ports",
    "map ports_4 { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "map ports_goto_4 { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
    "set ports_net_4 { type ipv4_addr; flags interval; }\n"
    "set ports_seen_4 { type ipv4_addr; flags dynamic,timeout; timeout 1h; }\n"
    "chain first { drop; }\n",
)
BOTH = [PEERS, PORTS]
ONE, TWO = Element("peers_4", ("192.0.2.1",)), Element("peers_4", ("192.0.2.2",))
WEB = Element("ports_4", ("tcp", "80"), ("10.244.1.5", "8080"))
GOTO = Element("ports_goto_4", ("10.96.0.1", "udp", "53"), ("goto first",))
NET = Element("ports_net_4", ("10.0.0.0/8",))


def nft(*command: str) -> str:
    """In the namespace of this thread."""
    enter = ["nsenter", f"--net=/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"]
    return subprocess.run([*enter, "nft", *command], capture_output=True, text=True, check=True, timeout=30).stdout


@contextlib.contextmanager
def started() -> Iterator[Ruleset]:
    """As an agent that starts has it."""
    library = Nftables()
    try:
        yield Ruleset(library)
    finally:
        library.close()


def in_namespace(work: Callable[[Ruleset], None]) -> None:
    def run() -> None:
        with started() as ruleset:
            work(ruleset)

    alone(run)


def kernel(ruleset: Ruleset) -> set[Element]:
    return {item for found in ruleset.listing().elements.values() for item in found}


def test_elements_of_each_form_are_read_as_they_were_written() -> None:
    """Those that packets have added are none of a concern's."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(BOTH)
        ruleset.declare("peers", [TWO, ONE])
        ruleset.declare("ports", [WEB, GOTO, NET])
        nft("add element inet pinnace ports_seen_4 { 192.0.2.9 }")
        assert kernel(ruleset) == {ONE, TWO, WEB, GOTO, NET}
        assert ruleset.repair() == Difference()

    in_namespace(work)


def test_a_change_touches_only_its_elements() -> None:
    """A value is replaced; what is there, or gone, already is no error."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(BOTH)
        ruleset.declare("peers", [ONE])
        ruleset.declare("ports", [WEB, GOTO])
        other = Element(WEB.container, WEB.key, ("10.244.1.6", "81"))
        ruleset.change("ports", [other, NET], [WEB, GOTO, GOTO])
        assert kernel(ruleset) == {ONE, other, NET}
        ruleset.change("ports", [other], [other])
        ruleset.change("ports", [other], [GOTO])
        assert kernel(ruleset) == {ONE, other, NET}
        assert ruleset.declare("ports", [GOTO]) == Difference((GOTO,), (other, NET))

    in_namespace(work)


def part(name: str) -> Part | None:
    """`ports_toN` leads to `ports_slotN_4`, a chain with a map."""
    number = name.removeprefix("ports_slot").removesuffix("_4")
    if name.startswith("ports_slot"):
        text = f"map {name} {{ type ipv4_addr : ipv4_addr; }}\nchain {name} {{ ip daddr @ports_net_4 drop; }}"
        return Part(text) if number.isdigit() else None
    number = name.removeprefix("ports_to")
    return Part(f"chain {name} {{ goto ports_slot{number}_4; }}", (f"ports_slot{number}_4",)) if number.isdigit() else None


GROWING = [PEERS, Fragment("ports", PORTS.text, part)]
TO_SECOND = Element(GOTO.container, GOTO.key, ("goto ports_to2",))
SLOT = Element("ports_slot2_4", ("10.96.0.1",), ("10.244.1.5",))


def test_parts_are_added_with_the_first_element_that_needs_them() -> None:
    """They are made again with the table, and once."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(GROWING)
        ruleset.declare("ports", [TO_SECOND])
        for item in (SLOT, NET):
            ruleset.change("ports", [item, TO_SECOND], [TO_SECOND])
        assert nft("list", "chain", "inet", "pinnace", "ports_slot2_4").count("drop") == 1
        assert set(ruleset.wanted().pieces) == {"ports_to2", "ports_slot2_4"}
        nft("delete table inet pinnace")
        ruleset.repair()
        assert kernel(ruleset) == {TO_SECOND, SLOT, NET}

    in_namespace(work)


def test_an_agent_that_starts_again_knows_the_parts() -> None:
    """Those that it finds, and those that its first elements need; a new skeleton carries them over."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(GROWING)
        ruleset.declare("ports", [TO_SECOND, SLOT])
        with started() as again:
            again.ensure(GROWING)
            assert again.wanted().pieces == ruleset.wanted().pieces
            third = Element("ports_slot3_4", SLOT.key, SLOT.value)
            again.declare("ports", [TO_SECOND, SLOT, third])
            assert kernel(again) == {TO_SECOND, SLOT, third}
        with started() as again:
            again.ensure([PEERS, Fragment("ports", PORTS.text + "chain more { drop; }\n", part)])
            assert kernel(again) == {TO_SECOND, SLOT, third}

    in_namespace(work)


def test_parts_of_the_past_go_once_there_are_many() -> None:
    """A Service whose endpoints change for ever needs another part each time."""

    def work() -> None:
        library = Nftables()
        ruleset = Ruleset(library, max_parts=1000)
        ruleset.ensure(GROWING)
        ruleset.declare("ports", [])
        ruleset.declare("peers", [ONE])
        for number in range(100):
            last = Element(GOTO.container, GOTO.key, (f"goto ports_to{number}",))
            ruleset.change("ports", [last, SLOT], [])
            assert sum(map(len, ruleset.wanted().pieces.values())) <= 1000
        assert kernel(ruleset) == {ONE, last, SLOT}
        assert {"ports_to99", "ports_slot99_4", "ports_slot2_4"} <= ruleset.wanted().pieces.keys()
        assert nft("list", "table", "inet", "pinnace").count("chain ports_to") == len(
            [name for name in ruleset.wanted().pieces if name.startswith("ports_to")]
        )
        library.close()

    alone(work)


def test_an_agent_that_starts_again_leaves_what_is_there() -> None:
    """Elements and those that packets have added, until their concern has declared its own; then it programs the difference."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(BOTH)
        ruleset.declare("peers", [ONE])
        ruleset.declare("ports", [WEB, GOTO])
        nft("add element inet pinnace ports_seen_4 { 192.0.2.9 }")
        handle = nft("-a", "list", "table", "inet", "pinnace").splitlines()[0]
        with started() as again:
            again.ensure(BOTH)
            assert kernel(again) == {ONE, WEB, GOTO}
            assert again.declare("ports", [WEB, NET]) == Difference((NET,), (GOTO,))
            assert kernel(again) == {ONE, WEB, NET}
        assert nft("-a", "list", "table", "inet", "pinnace").splitlines()[0] == handle
        assert "192.0.2.9" in nft("list set inet pinnace ports_seen_4")

    in_namespace(work)


def test_another_skeleton_takes_the_elements_over() -> None:
    """Those that the new one has no place for, or another form, are dropped without failing."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(BOTH)
        ruleset.declare("peers", [ONE])
        ruleset.declare("ports", [WEB])
        with started() as again:
            again.ensure([PEERS, Fragment("ports", PORTS.text + "chain more { drop; }\n")])
            assert "chain more" in nft("list table inet pinnace")
            assert kernel(again) == {ONE, WEB}
        with started() as again:
            again.ensure([PEERS])
            again.declare("peers", [ONE])
            assert kernel(again) == {ONE}

    in_namespace(work)


def test_elements_are_taken_over_beside_one_that_another_skeleton_rejects() -> None:
    """Of the map of verdicts those whose chain the new skeleton has."""
    gone = Element("ports_goto_4", ("10.96.0.2", "udp", "53"), ("goto second",))
    more = [Element("ports_goto_4", (f"10.96.1.{number}", "udp", "53"), ("goto first",)) for number in range(9)]

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure([PEERS, replace(PORTS, text=PORTS.text + "chain second { drop; }\n")])
        ruleset.declare("ports", [GOTO, gone, *more])
        with started() as another:
            another.ensure(BOTH)
            assert kernel(another) == {GOTO, *more}

    in_namespace(work)


class Recorder(Nftables):
    """Keeps the transactions that the kernel has committed."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[str] = []

    def run_text(self, commands: str) -> None:
        super().run_text(commands)
        self.committed.append(commands)


def test_a_table_is_replaced_in_one_transaction_also_if_elements_are_rejected() -> None:
    """Of a chain that is gone and of a map of another form: packets never meet a table without the elements of the others."""
    gone = Element("ports_goto_4", ("10.96.0.2", "udp", "53"), ("goto second",))
    form = PORTS.text.replace("inet_proto . inet_service : ipv4_addr . inet_service", "inet_service : ipv4_addr")
    others = [Element("peers_4", (f"192.0.2.{number}",)) for number in range(100)]

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure([PEERS, replace(PORTS, text=PORTS.text + "chain second { drop; }\n")])
        ruleset.declare("ports", [GOTO, gone, WEB])
        ruleset.declare("peers", others)
        library = Recorder()
        try:
            another = Ruleset(library)
            another.ensure([PEERS, replace(PORTS, text=form)])
            assert kernel(another) == {GOTO, *others}
            [replaced] = [text for text in library.committed if "delete table" in text]
            assert all(f"{item.key[0]}" in replaced for item in others)
        finally:
            library.close()

    in_namespace(work)


POLICY = "set policy_in_pods_4 { type ipv4_addr; }\nchain isolated { ip saddr @policy_in_pods_4 drop; }\n"
FORMS = [
    Fragment("a", "map a_1_4 { type ipv4_addr : inet_service; }"),
    Fragment("policy", POLICY),
    Fragment("ports", "set ports_net_4 { type ipv4_addr; flags interval; }"),
    Fragment("services", "map services_4 { type ipv4_addr . inet_service : ipv4_addr; }"),
]
OTHER_FORMS = [
    replace(
        item, text=item.text.replace("ipv4_addr . inet_service :", "inet_service :").replace("ipv4_addr : inet", "mark : inet")
    )
    for item in FORMS
]
ISOLATED = [Element("policy_in_pods_4", (f"10.244.1.{number}",)) for number in range(50)]
OF_FORMS = {
    "a": [Element("a_1_4", ("192.0.2.1",), ("80",))],
    "policy": ISOLATED,
    "ports": [NET],
    "services": [Element("services_4", (f"10.96.{n // 250}.{n % 250}", "80"), ("10.244.1.5",)) for n in range(300)],
}


def test_sets_and_maps_of_another_form_keep_out_only_their_own_elements() -> None:
    """A map of one element and one of 300, with a set of pods that are isolated between them."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(FORMS)
        for concern, items in OF_FORMS.items():
            ruleset.declare(concern, items)
        with started() as another:
            another.ensure(OTHER_FORMS)
            assert kernel(another) == {*ISOLATED, NET}
            assert not another.stale

    in_namespace(work)


def test_declared_elements_that_a_new_table_leaves_out_stay_wanted() -> None:
    """Those of a form that it has not. The result has those that it got, and a table with their form gets all."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(FORMS)
        for concern, items in OF_FORMS.items():
            ruleset.declare(concern, items)
        ruleset.ensure(OTHER_FORMS)
        assert kernel(ruleset) == {*ISOLATED, NET}
        assert ruleset.stale
        assert ruleset.wanted().elements["services"] == set(OF_FORMS["services"])
        nft("delete element inet pinnace policy_in_pods_4 { 10.244.1.7 }")
        assert ruleset.recreate() == Difference((ISOLATED[7],), ())
        ruleset.ensure(FORMS)
        assert kernel(ruleset) == {item for items in OF_FORMS.values() for item in items}
        assert not ruleset.stale

    in_namespace(work)


def test_a_skeleton_that_the_kernel_rejects_costs_no_element() -> None:
    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(BOTH)
        ruleset.declare("peers", [ONE])
        with pytest.raises(NetworkError):
            ruleset.ensure([PEERS, Fragment("ports", "chain ports { jump nowhere; }")])
        ruleset.ensure(BOTH)
        assert kernel(ruleset) == {ONE}
        assert ruleset.wanted().elements["peers"] == {ONE}

    in_namespace(work)


LOOPS = Fragment(
    "loops",
    "map loops_a_4 { type ipv4_addr : verdict; }\nmap loops_b_4 { type ipv4_addr : verdict; }\n"
    "chain first { ip saddr vmap @loops_a_4; }\nchain second { ip saddr vmap @loops_b_4; }\n"
    "chain hooked { type filter hook input priority 0; jump first; }\n",
)
UNUSED = replace(LOOPS, text=re.sub("ip saddr vmap @loops_._4; ", "", LOOPS.text))


def test_elements_that_are_rejected_only_together_do_not_hold_back_the_others() -> None:
    """Verdicts of two maps that make a loop in the new table: those of the first stay."""
    there = Element("loops_a_4", ("192.0.2.1",), ("goto second",))
    back = Element("loops_b_4", ("192.0.2.1",), ("goto first",))

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure([PEERS, UNUSED])
        ruleset.declare("peers", [ONE])
        ruleset.declare("loops", [there, back])
        with started() as another:
            another.ensure([PEERS, LOOPS])
            assert kernel(another) == {there, ONE}

    in_namespace(work)


def test_many_ranges_are_removed_at_once() -> None:
    """The set is emptied and filled again, as each removal would read all of it; a few are removed by themselves."""
    ranges = [Element("ports_net_4", (f"10.{number // 250}.{number % 250}.0/25",)) for number in range(1000)]

    def work(_: Ruleset) -> None:
        library = Recorder()
        try:
            ruleset = Ruleset(library)
            ruleset.ensure(BOTH)
            ruleset.declare("ports", [WEB, *ranges])
            ruleset.change("ports", [], ranges[:2])
            assert "flush" not in library.committed[-1]
            ruleset.change("ports", [GOTO, NET], [WEB, *ranges[2:]])
            assert "flush set inet pinnace ports_net_4" in library.committed[-1]
            assert kernel(ruleset) == {GOTO, NET}
            ruleset.declare("ports", ranges)
            nft("delete element inet pinnace ports_net_4 { 10.0.9.0/25 }")
            ruleset.change("ports", [], ranges[100:])
            assert kernel(ruleset) == set(ranges[:100])
            assert not ruleset.stale
        finally:
            library.close()

    in_namespace(work)


def test_differences_made_by_others_are_found_and_repaired() -> None:
    """Elements, and the whole table; a failed transaction is followed by a comparison."""

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(BOTH)
        ruleset.declare("peers", [ONE])
        ruleset.declare("ports", [WEB])
        nft("delete element inet pinnace peers_4 { 192.0.2.1 }")
        nft("add element inet pinnace ports_net_4 { 10.0.0.0/8 }")
        assert ruleset.repair() == Difference((ONE,), (NET,))
        nft("delete element inet pinnace peers_4 { 192.0.2.1 }")
        with pytest.raises(NetworkError):
            ruleset.change("peers", [TWO], [ONE])
        assert ruleset.stale
        ruleset.change("ports", [GOTO], [])
        assert not ruleset.stale
        assert kernel(ruleset) == {TWO, WEB, GOTO}
        nft("flush ruleset")
        ruleset.repair()
        assert kernel(ruleset) == {TWO, WEB, GOTO}

    in_namespace(work)


def test_an_element_that_the_kernel_rejects_does_not_hold_back_the_others() -> None:
    """Of its concern or of others: it is dropped, at once or after a change that failed, also when the table is made anew."""
    bad = Element("ports_goto_4", GOTO.key, ("goto nowhere",))

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure(BOTH)
        ruleset.declare("ports", [WEB, bad, NET])
        assert kernel(ruleset) == {WEB, NET}
        ruleset.declare("peers", [ONE])
        other = Element(WEB.container, WEB.key, ("10.244.1.6", "81"))
        with pytest.raises(NetworkError):
            ruleset.change("ports", [bad, other], [NET])
        assert kernel(ruleset) == {ONE, WEB, NET}
        ruleset.change("peers", [TWO], [])
        assert kernel(ruleset) == {ONE, TWO, other}
        assert not ruleset.stale
        with pytest.raises(NetworkError):
            ruleset.change("ports", [bad], [])
        nft("delete table inet pinnace")
        ruleset.repair()
        assert kernel(ruleset) == {ONE, TWO, other}

    in_namespace(work)


def test_elements_that_packets_have_added_are_deleted_by_their_last_parts() -> None:
    """Of a set that is there."""
    text = "set ports_seen1_4 { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 1h; }"
    fragment = Fragment("ports", PORTS.text, lambda name: Part(text) if name == "ports_seen1_4" else None)

    def work(ruleset: Ruleset) -> None:
        ruleset.ensure([PEERS, fragment])
        ruleset.declare("ports", [])
        ruleset.delete_clients({"ports_seen1_4": [("80",)]})
        nft(f"add {text}".replace("set ", "set inet pinnace ", 1))
        nft("add element inet pinnace ports_seen1_4 { 192.0.2.1 . 80, 192.0.2.2 . 81, 192.0.2.3 . 80, 192.0.2.3 . 82 }")
        ruleset.repair()
        ruleset.delete_clients({"ports_seen1_4": [("80",), ("82",)], "ports_seen2_4": [("81",)]})
        assert "192.0.2.2 . 81" in nft("list set inet pinnace ports_seen1_4")
        assert not re.search(r" \. 8[02]", nft("list set inet pinnace ports_seen1_4"))

    in_namespace(work)


class Rejecting(Nftables):
    """The kernel rejects commands that contain `rejected`."""

    rejected = ""

    def run_text(self, commands: str) -> None:
        super().run_text(
            f"{commands}\nadd set inet nothing s {{ }}" if self.rejected and self.rejected in commands else commands
        )


def test_an_error_with_elements_of_packets_keeps_neither_others_nor_the_table() -> None:
    """Those of other sets, and of the same one beyond some thousand, are deleted; the table is not compared for it."""

    def run() -> None:
        with contextlib.closing(Rejecting()) as library:
            ruleset = Ruleset(library)
            sets = "\n".join(
                f"set ports_seen{n}_4 {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 1h; }}" for n in (1, 2)
            )
            ruleset.ensure([PEERS, Fragment("ports", sets)])
            keys = [f"10.0.{n >> 8}.{n & 255} . 80" for n in range(10000)]
            library.run_text(f"add element inet pinnace ports_seen1_4 {{ {', '.join(keys)} }}")
            library.run_text("add element inet pinnace ports_seen2_4 { 192.0.2.1 . 81 }")
            library.rejected = keys[5000]
            items = [Element("ports_seen1_4", tuple(key.split(" . "))) for key in keys]
            with pytest.raises(NetworkError):
                ruleset.expire([*items, Element("ports_seen2_4", ("192.0.2.1", "81"))])
            assert not ruleset.stale
            assert 0 < nft("list set inet pinnace ports_seen1_4").count(" . 80") < 5000
            assert "192.0.2.1" not in nft("list set inet pinnace ports_seen2_4")

    alone(run)


def test_elements_of_another_concern_are_an_error() -> None:
    with started() as ruleset, pytest.raises(ValueError, match="peers"):
        ruleset.declare("ports", [ONE])


EARLIER = """
table ip pinnace {
    map address { type inet_proto . inet_service : ipv4_addr; elements = { tcp . 18080 : 10.244.1.5 } }
    map port { type inet_proto . inet_service : inet_service; elements = { tcp . 18080 : 8080 } }
    map address_at { type ipv4_addr . inet_proto . inet_service : ipv4_addr; elements = { 192.0.2.1 . udp . 53 : 10.244.1.6 } }
    map port_at { type ipv4_addr . inet_proto . inet_service : inet_service; elements = { 192.0.2.1 . udp . 53 : 5353 } }
    set peers { type ipv4_addr; elements = { 192.0.2.2 } }
}
table ip6 pinnace { }
table ip other { }
"""
HOST_PORTS = Fragment(
    "hostports",
    "map hostports_4 { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "map hostports_at_4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }\n"
    "set hostports_hairpin_4 { type ipv4_addr . ipv4_addr; }",
)


def test_tables_of_an_earlier_release_are_taken_over() -> None:
    """Its host ports and peers stay in effect; other tables are left."""

    def work(ruleset: Ruleset) -> None:
        for line in EARLIER.strip().split("\ntable"):
            nft(line if line.startswith("table") else f"table{line}")
        ruleset.ensure([PEERS, HOST_PORTS])
        assert kernel(ruleset) == {
            TWO,
            Element("hostports_4", ("tcp", "18080"), ("10.244.1.5", "8080")),
            Element("hostports_at_4", ("192.0.2.1", "udp", "53"), ("10.244.1.6", "5353")),
            Element("hostports_hairpin_4", ("10.244.1.5", "10.244.1.5")),
            Element("hostports_hairpin_4", ("10.244.1.6", "10.244.1.6")),
        }
        assert nft("list tables").split("\n") == ["table ip other", "table inet pinnace", ""]
        nft("add table ip pinnace")
        with started() as again:
            again.ensure([PEERS, HOST_PORTS])
        assert "table ip pinnace" not in nft("list tables")

    in_namespace(work)


IPV4 = Node(("10.244.1.0/24",), ("10.244.0.0/16", "10.245.0.0/16"), "192.0.2.1", "0a:00:00:00:00:01", 7, 4789)
DUAL = replace(IPV4, pod_cidrs=(*IPV4.pod_cidrs, "fd00:244:0:1::/64"), cluster_cidrs=(*IPV4.cluster_cidrs, "fd00:244::/48"))


@pytest.mark.parametrize("node", [IPV4, DUAL, replace(DUAL, pod_cidrs=DUAL.pod_cidrs[1:], address="fd00:1::1")])
@pytest.mark.parametrize(
    ("routed", "node_ports"), [((), ()), ((4, 6), ("192.0.2.1", "fd00:1::1")), ((), ("0.0.0.0/0", "fd00:1::/64"))]
)
def test_the_kernel_accepts_the_nodes_own_fragments(
    node: Node, routed: tuple[Family, ...], node_ports: tuple[str, ...]
) -> None:  # fmt: skip
    """With their elements, which come back as they were."""
    ports = [
        HostPort("tcp", "", 8080, "10.244.1.5", 80), HostPort("sctp", "192.0.2.1", 53, "10.244.1.6", 5353),
        HostPort("tcp", "", 8080, "fd00:244:0:1::5", 80), HostPort("udp", "fd00:1::1", 53, "fd00:244:0:1::6", 53),
    ]  # fmt: skip
    peers, addresses = guard.peers(["192.0.2.2", "fd00:1::2"]), ("192.0.2.64", "fd00:1::64")

    def work(ruleset: Ruleset) -> None:
        fragments = [guard.fragment(node, "pinnace0", routed=routed), rules.fragment(), nat.fragment(node, "pinnace0")]
        ruleset.ensure([*fragments, skeleton.fragment(facts_of(node), node_ports)])
        ruleset.declare(guard.PEERS, peers)
        ruleset.declare(rules.CONCERN, rules.elements(addresses))
        ruleset.declare(nat.HOST_PORTS, nat.elements(ports))
        assert kernel(ruleset) == {*peers, *nat.elements(ports), *rules.elements(addresses)}

    in_namespace(work)
