"""Names of a small cluster for tests of the resolver, without a process."""

from __future__ import annotations

import dns.message

from nodeagent.dns.answers import Answers
from nodeagent.dns.forwarding import Forwarder
from nodeagent.dns.index import Index
from nodeagent.dns.metrics import Metrics
from nodeagent.dns.records import Endpoint, Port, Service, Slice
from nodeagent.dns.wire import Responder
from nodeagent.dns.zone import Zone
from pinnace.clock import Clock, VirtualClock

DOMAIN = "cluster.local"
NETWORKS = ("10.96.0.0/12", "10.244.0.0/16", "fd00:1::/108")
HTTP, METRICS, DNS = Port("http", "tcp", 80), Port("metrics", "tcp", 9090), Port("dns", "udp", 53)


def small() -> Index:
    """A Service of two ports and families, a headless one with two endpoints, an empty one, and aliases."""
    index = Index()
    index.set_namespace("empty")
    index.set_service(Service("default", "web", ("10.96.0.5", "fd00:1::5"), (HTTP, DNS)))
    index.set_slice(Slice("default", "web-1", "web", (Endpoint("10.244.1.9"),), (Port("http", "tcp", 8080),)))
    index.set_service(Service("default", "db", (), (HTTP,), headless=True))
    index.set_slice(Slice("default", "db-1", "db", (Endpoint("10.244.1.2", "DB-0"), Endpoint("10.244.1.3")), (HTTP, METRICS)))
    index.set_service(Service("default", "none", (), (HTTP,), headless=True))
    for name, target in (
        ("ext", "www.example.com."),
        ("alias", "web.default.svc.cluster.local"),
        ("circle", "circle.default.svc.cluster.local"),
        ("number", "192.0.2.1"),
    ):
        index.set_service(Service("default", name, external=target))
    return index


def zone_of(index: Index) -> Zone:
    return Zone(index, domain=DOMAIN, networks=NETWORKS, servers=("10.96.0.10", "fd00:1::a"))


def answers_of(index: Index, clock: Clock | None = None, forwarder: Forwarder | None = None) -> Answers:
    clock, metrics = clock or VirtualClock(), Metrics()
    found = Answers(Responder(1), forwarder or Forwarder(clock, metrics), metrics, clock.monotonic)
    found.use(zone_of(index))
    return found


def asked(answers: Answers, name: str, type_: str = "A", *, tcp: bool = False, edns: int | None = 0) -> dns.message.Message:
    """The response to a name of the cluster."""
    query = dns.message.make_query(name, type_, use_edns=edns if edns is not None else -1)
    response = answers.resolve(query.to_wire(), tcp)
    assert isinstance(response, bytes)
    found = dns.message.from_wire(response)
    assert query.is_response(found)
    return found


def texts(message: dns.message.Message) -> list[str]:
    """Type and data of each answer, in order of the text."""
    return sorted(f"{item.rdtype.name} {data.to_text()}" for item in message.answer for data in item)
