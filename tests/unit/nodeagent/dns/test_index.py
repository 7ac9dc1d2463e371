"""The index: after any changes it has what the objects have, and answers that were made before are current or not used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.dns.index import Index, hostname_of
from nodeagent.dns.records import Endpoint, Port, Service, Slice
from tests.support.dnszones import HTTP, answers_of, asked, texts, zone_of

NAMESPACES, NAMES = ("n1", "n2"), ("a", "b")
PORTS = (HTTP, Port("", "udp", 53))
ADDRESSES = ("10.244.0.1", "10.244.0.2", "fd00:1::1", "10.96.0.1", "192.0.2.1")
ports = st.lists(st.sampled_from(PORTS), unique=True).map(tuple)
services = st.builds(
    Service, st.sampled_from(NAMESPACES), st.sampled_from(NAMES), st.lists(st.sampled_from(ADDRESSES), max_size=2).map(tuple), ports,
    st.sampled_from(("", "", "a.n1.svc.cluster.local", "b.n2.svc.cluster.local")), st.booleans(),
)  # fmt: skip
endpoints = st.builds(Endpoint, st.sampled_from(ADDRESSES), st.sampled_from(("", "h1", "h2")))
slices = st.builds(
    Slice, st.sampled_from(NAMESPACES), st.sampled_from(("s1", "s2", "s3")), st.sampled_from(NAMES),
    st.lists(endpoints, max_size=3).map(tuple), ports,
)  # fmt: skip
gone = st.tuples(
    st.sampled_from(("Service", "EndpointSlice")), st.sampled_from(NAMESPACES), st.sampled_from((*NAMES, "s1", "s2", "s3"))
)
namespaces = st.tuples(st.sampled_from(("Namespace", "gone")), st.sampled_from(NAMESPACES))
changes = st.lists(st.one_of(services, slices, gone, namespaces), max_size=25)
_BASE = [f"{name}.{namespace}.svc.cluster.local" for namespace in NAMESPACES for name in NAMES]
QUESTIONS = [
    *((name, type_) for name in _BASE for type_ in ("A", "AAAA", "SRV", "CNAME")),
    *((f"{host}.{name}", "A") for name in _BASE for host in ("h1", "10-244-0-1", "_http._tcp", "_udp")),
    *((f"{namespace}.svc.cluster.local", "A") for namespace in NAMESPACES),
    *((f"10-0-0-1.{namespace}.pod.cluster.local", "A") for namespace in NAMESPACES),
    ("1.0.244.10.in-addr.arpa", "PTR"), ("1.0.96.10.in-addr.arpa", "PTR"),
]  # fmt: skip


class Objects:
    """What there is, without any index."""

    def __init__(self) -> None:
        self.services: dict[tuple[str, str], Service] = {}
        self.slices: dict[tuple[str, str], Slice] = {}
        self.namespaces: set[str] = set()

    def change(self, index: Index, item: Any) -> None:
        if isinstance(item, Service):
            self.services[item.namespace, item.name] = item
            index.set_service(item)
        elif isinstance(item, Slice):
            self.slices[item.namespace, item.name] = item
            index.set_slice(item)
        elif item[0] == "Service":
            self.services.pop(item[1:], None)
            index.delete_service(*item[1:])
        elif item[0] == "EndpointSlice":
            self.slices.pop(item[1:], None)
            index.delete_slice(*item[1:])
        elif item[0] == "Namespace":
            self.namespaces.add(item[1])
            index.set_namespace(item[1])
        else:
            self.namespaces.discard(item[1])
            index.delete_namespace(item[1])

    def addresses(self, namespace: str, name: str, family: int) -> set[str] | None:
        """What the name leads to, by looking at every object; None for a name that is not there."""
        service = self.services.get((namespace, name))
        if service is None or service.external:
            return None
        found: set[str] | None
        if service.headless:
            ready = {
                one.address
                for item in self.slices.values()
                if (item.namespace, item.service) == (namespace, name)
                for one in item.endpoints
            }
            found = ready or None
        else:
            found = set(service.addresses) if service.ports else None
        return found and {address for address in found if (":" in address) == (family == 6)}

    def exists(self, namespace: str) -> bool:
        return namespace in self.namespaces or any(key[0] == namespace for key in (*self.services, *self.slices))


@settings(max_examples=60, deadline=None)
@given(changes)
def test_names_are_those_of_the_objects(items: list[Any]) -> None:
    """Whatever came and went: addresses, namespaces, and exactly the objects that are there."""
    objects, index = Objects(), Index()
    for item in items:
        objects.change(index, item)
    answers = answers_of(index)
    for namespace in NAMESPACES:
        assert (asked(answers, f"{namespace}.svc.cluster.local").rcode() == 0) is objects.exists(namespace)
        for name in NAMES:
            for family, type_ in ((4, "A"), (6, "AAAA")):
                service = objects.services.get((namespace, name))
                if service is not None and service.external:
                    continue
                found = asked(answers, f"{name}.{namespace}.svc.cluster.local", type_, tcp=True)
                expected = objects.addresses(namespace, name, family)
                assert (None if found.rcode() else {text.split()[1] for text in texts(found)}) == expected
    assert {key[1:] for key in index.objects() if key[0] == "Service"} == set(objects.services)
    assert {key[1:] for key in index.objects() if key[0] == "EndpointSlice"} == set(objects.slices)


@settings(max_examples=20, deadline=None)
@given(changes)
def test_kept_answers_are_those_of_a_new_resolver(items: list[Any]) -> None:
    """Every question is asked between all changes, so that an answer which is kept too long is seen."""
    objects, index = Objects(), Index()
    answers = answers_of(index)
    for item in items:
        objects.change(index, item)
        new = Index()
        for thing in (*objects.services.values(), *objects.slices.values()):
            Objects().change(new, thing)
        for name in objects.namespaces:
            new.set_namespace(name)
        fresh = zone_of(new)
        for name, type_ in QUESTIONS:
            given_, expected = asked(answers, name, type_, tcp=True), asked(answers_of(new), name, type_, tcp=True)
            assert (given_.rcode(), texts(given_)) == (expected.rcode(), texts(expected)), (name, type_)
        assert fresh.domain


def test_a_slice_may_move_to_another_service() -> None:
    """Its label says of which it is."""
    index = Index()
    for name in NAMES:
        index.set_service(Service("n1", name, headless=True))
    index.set_slice(Slice("n1", "s", "a", (Endpoint("10.244.0.1"),)))
    index.set_slice(Slice("n1", "s", "b", (Endpoint("10.244.0.1"),)))
    answers = answers_of(index)
    assert asked(answers, "a.n1.svc.cluster.local").rcode() == 3
    assert texts(asked(answers, "b.n1.svc.cluster.local")) == ["A 10.244.0.1"]
    index.delete_slice("n1", "s")
    for name in NAMES:
        index.delete_service("n1", name)
    assert not index.entries
    assert not index.reverse
    assert not index.namespaces


def test_a_change_replaces_only_what_it_is_about() -> None:
    """So that answers about other Services stay ready."""
    index = Index()
    for number in range(100):
        index.set_service(Service("n1", f"s{number}", (f"10.96.1.{number}",), (HTTP,)))
    before = dict(index.entries)
    index.set_slice(Slice("n1", "x", "s7", (Endpoint("10.244.0.1"),)))
    assert [key for key, entry in index.entries.items() if before[key] is not entry] == [("n1", "s7")]
    assert hostname_of(Endpoint("fd00::1")) == "fd00--1"


def calls(work: Callable[[], object]) -> int:
    """How many functions the work calls: what it costs, on any machine."""
    count = 0

    def called(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def shared(count: int, endpoints: int, *, headless: bool = True) -> Index:
    """So many Services, each with the same endpoints."""
    index = Index()
    ends = tuple(Endpoint(f"10.244.{number >> 8}.{number & 255}") for number in range(endpoints))
    for number in range(count):
        index.set_service(Service("n1", f"s{number}", () if headless else ("10.96.0.1",), headless=headless))
        index.set_slice(Slice("n1", f"s{number}-1", f"s{number}", ends))
    return index


def test_a_reverse_name_costs_nothing_for_other_endpoints() -> None:
    """Nor for Services with a cluster IP, which have no reverse names of endpoints."""

    def cost(index: Index) -> int:
        zone = zone_of(index)
        return calls(lambda: zone.lookup(("0", "0", "244", "10", "in-addr", "arpa"), 12))

    few = shared(1, 1)
    assert cost(shared(1, 200)) == cost(few)
    many = shared(50, 20, headless=False)
    many.set_service(Service("n2", "h", headless=True))
    many.set_slice(Slice("n2", "h-1", "h", (Endpoint("10.244.0.0"),)))
    assert cost(many) == cost(few)
    assert texts(asked(answers_of(many), "0.0.244.10.in-addr.arpa", "PTR")) == ["PTR 10-244-0-0.h.n2.svc.cluster.local."]


def test_a_reverse_name_has_a_bound_of_answers() -> None:
    """Endpoints that others claim do not displace the Service whose address it is."""
    index = shared(1100, 1)
    index.set_service(Service("z", "mine", ("10.244.0.0",), (HTTP,)))
    found = zone_of(index).lookup(("0", "0", "244", "10", "in-addr", "arpa"), 12)
    assert found is not None
    assert len(found.answers) == 1000
    assert found.answers[0].data == "mine.z.svc.cluster.local"
    assert len(found.uses) == 1
