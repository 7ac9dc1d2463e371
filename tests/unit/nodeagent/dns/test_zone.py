"""The cluster's names: the records of kubernetes/dns' specification, and what exists without any."""

from __future__ import annotations

import pytest

from nodeagent.dns.records import Endpoint, Port, Service, Slice
from tests.support.dnszones import HTTP, answers_of, asked, small, texts

WEB, DB = "web.default.svc.cluster.local", "db.default.svc.cluster.local"
NOERROR, NXDOMAIN = 0, 3
SRV_WEB = [f"SRV 0 50 53 {WEB}.", f"SRV 0 50 80 {WEB}."]


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        # 2.2 and 2.3 of the specification.
        ("dns-version.cluster.local", "TXT", ['TXT "1.1.0"']),
        (WEB, "A", ["A 10.96.0.5"]),
        (WEB, "AAAA", ["AAAA fd00:1::5"]),
        (f"_http._tcp.{WEB}", "SRV", [f"SRV 0 100 80 {WEB}."]),
        (f"_dns._udp.{WEB}", "SRV", [f"SRV 0 100 53 {WEB}."]),
        (f"_http._tcp.{WEB}", "A", ["A 10.96.0.5"]),
        (WEB, "SRV", SRV_WEB),
        ("5.0.96.10.in-addr.arpa", "PTR", [f"PTR {WEB}."]),
        ("5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", "PTR", [f"PTR {WEB}."]),
        # 2.4: headless.
        (DB, "A", ["A 10.244.1.2", "A 10.244.1.3"]),
        (f"db-0.{DB}", "A", ["A 10.244.1.2"]),
        (f"10-244-1-3.{DB}", "A", ["A 10.244.1.3"]),
        (f"_http._tcp.{DB}", "SRV", [f"SRV 0 50 80 10-244-1-3.{DB}.", f"SRV 0 50 80 db-0.{DB}."]),
        (f"db-0.{DB}", "SRV", [f"SRV 0 50 80 db-0.{DB}.", f"SRV 0 50 9090 db-0.{DB}."]),
        ("2.1.244.10.in-addr.arpa", "PTR", [f"PTR db-0.{DB}."]),
        ("3.1.244.10.in-addr.arpa", "PTR", [f"PTR 10-244-1-3.{DB}."]),
        # An endpoint of a Service with a cluster IP has a name, as in CoreDNS.
        (f"10-244-1-9.{WEB}", "A", ["A 10.244.1.9"]),
        # 2.5: aliases.
        ("alias.default.svc.cluster.local", "A", ["A 10.96.0.5", f"CNAME {WEB}."]),
        ("alias.default.svc.cluster.local", "CNAME", [f"CNAME {WEB}."]),
        ("ext.default.svc.cluster.local", "CNAME", ["CNAME www.example.com."]),
        ("circle.default.svc.cluster.local", "A", ["CNAME circle.default.svc.cluster.local."]),
        # 2.6: pods.
        ("10-1-2-3.default.pod.cluster.local", "A", ["A 10.1.2.3"]),
        ("fd00--7.empty.pod.cluster.local", "AAAA", ["AAAA fd00::7"]),
        # The zone itself.
        ("cluster.local", "NS", ["NS ns.dns.cluster.local."]),
        ("ns.dns.cluster.local", "A", ["A 10.96.0.10"]),
        ("ns.dns.cluster.local", "AAAA", ["AAAA fd00:1::a"]),
        # Letters in any case.
        ("WEB.Default.SVC.Cluster.LOCAL", "A", ["A 10.96.0.5"]),
    ],
)
def test_records_of_the_specification(name: str, type_: str, expected: list[str]) -> None:
    """Each with the zone's TTL, as an authoritative answer."""
    found = asked(answers_of(small()), name, type_)
    assert (found.rcode(), texts(found)) == (NOERROR, expected)
    assert found.flags & 0x0480 == 0x0480
    assert {item.ttl for item in found.answer} == {28800 if type_ == "TXT" else 5}


@pytest.mark.parametrize(
    ("name", "type_", "rcode", "zone"),
    [
        # There, but not of this type, or only for the sake of names below.
        (WEB, "MX", NOERROR, "cluster.local."),
        (DB, "AAAA", NOERROR, "cluster.local."),
        (f"_tcp.{WEB}", "A", NOERROR, "cluster.local."),
        ("cluster.local", "A", NOERROR, "cluster.local."),
        ("svc.cluster.local", "A", NOERROR, "cluster.local."),
        ("pod.cluster.local", "A", NOERROR, "cluster.local."),
        ("dns.cluster.local", "A", NOERROR, "cluster.local."),
        ("dns-version.cluster.local", "A", NOERROR, "cluster.local."),
        ("default.svc.cluster.local", "A", NOERROR, "cluster.local."),
        ("empty.svc.cluster.local", "A", NOERROR, "cluster.local."),
        ("empty.pod.cluster.local", "A", NOERROR, "cluster.local."),
        ("10-1-2-3.default.pod.cluster.local", "AAAA", NOERROR, "cluster.local."),
        ("96.10.in-addr.arpa", "PTR", NOERROR, "96.10.in-addr.arpa."),
        ("5.0.96.10.in-addr.arpa", "A", NOERROR, "96.10.in-addr.arpa."),
        # Not there.
        ("x.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("x.dns-version.cluster.local", "TXT", NXDOMAIN, "cluster.local."),
        ("gone.svc.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("web.gone.svc.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("gone.default.svc.cluster.local", "A", NXDOMAIN, "cluster.local."),
        (f"_gone._tcp.{WEB}", "SRV", NXDOMAIN, "cluster.local."),
        (f"_http._udp.{WEB}", "SRV", NXDOMAIN, "cluster.local."),
        (f"_udp.{DB}", "A", NXDOMAIN, "cluster.local."),
        (f"http.tcp.{WEB}", "SRV", NXDOMAIN, "cluster.local."),
        (f"a._http._tcp.{WEB}", "A", NXDOMAIN, "cluster.local."),
        (f"db-1.{DB}", "A", NXDOMAIN, "cluster.local."),
        # A headless Service without ready endpoints (2.4.1).
        ("none.default.svc.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("number.default.svc.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("x.ext.default.svc.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("10-1-2.default.pod.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("fe80--1%x.default.pod.cluster.local", "AAAA", NXDOMAIN, "cluster.local."),
        ("10-1-2-3.gone.pod.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("a.10-1-2-3.default.pod.cluster.local", "A", NXDOMAIN, "cluster.local."),
        ("9.9.96.10.in-addr.arpa", "PTR", NXDOMAIN, "96.10.in-addr.arpa."),
        ("9.9.111.10.in-addr.arpa", "PTR", NXDOMAIN, "111.10.in-addr.arpa."),
        ("x.5.0.96.10.in-addr.arpa", "PTR", NXDOMAIN, "96.10.in-addr.arpa."),
        ("05.0.96.10.in-addr.arpa", "PTR", NXDOMAIN, "96.10.in-addr.arpa."),
        # An endpoint of a Service with a cluster IP has no reverse name.
        ("9.1.244.10.in-addr.arpa", "PTR", NXDOMAIN, "244.10.in-addr.arpa."),
    ],
)
def test_names_without_records(name: str, type_: str, rcode: int, zone: str) -> None:
    """With the zone's SOA record, whose minimum is how long that may be remembered (RFC 2308)."""
    found = asked(answers_of(small()), name, type_)
    assert (found.rcode(), texts(found)) == (rcode, [])
    (soa,) = found.authority
    assert (soa.name.to_text(), soa.ttl, soa[0].minimum) == (zone, 5, 5)


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "local",
        "xcluster.local",
        "10.in-addr.arpa",
        "in-addr.arpa",
        "arpa",
        "1.1.112.10.in-addr.arpa",
        "d.f.ip6.arpa",
        ".",
    ],
)
def test_other_names_are_not_the_cluster_s(name: str) -> None:
    """They are passed on."""
    query = answers_of(small()).resolve(_query(name), False)
    assert not isinstance(query, bytes)
    query.close()  # type: ignore[attr-defined]


def _query(name: str) -> bytes:
    import dns.message

    return dns.message.make_query(name, "A").to_wire()


def test_srv_answers_bring_the_addresses() -> None:
    """Of the Service, or of each endpoint."""
    answers = answers_of(small())
    for name, count in ((f"_http._tcp.{WEB}", 2), (f"_http._tcp.{DB}", 2), (f"db-0.{DB}", 1)):
        assert sum(len(item) for item in asked(answers, name, "SRV").additional) == count, name


def test_an_address_outside_of_the_cluster_has_its_name_while_it_is_an_endpoint() -> None:
    """A pod with the node's network; the rest of that network is asked elsewhere."""
    index = small()
    index.set_slice(Slice("default", "db-2", "db", (Endpoint("192.0.2.7", "db-7"),), (HTTP,)))
    answers = answers_of(index)
    assert texts(asked(answers, "7.2.0.192.in-addr.arpa", "PTR")) == [f"PTR db-7.{DB}."]
    index.delete_slice("default", "db-2")
    query = answers.resolve(_query("7.2.0.192.in-addr.arpa"), False)
    assert not isinstance(query, bytes)
    query.close()  # type: ignore[attr-defined]


def test_a_headless_service_without_ports_has_addresses() -> None:
    """As in Kubernetes, where their slices have no ports either."""
    index = small()
    index.set_service(Service("default", "bare", headless=True))
    index.set_slice(Slice("default", "bare-1", "bare", (Endpoint("10.244.1.7"),), ()))
    answers = answers_of(index)
    assert texts(asked(answers, "bare.default.svc.cluster.local")) == ["A 10.244.1.7"]
    assert asked(answers, "bare.default.svc.cluster.local", "SRV").rcode() == NOERROR


def test_ports_of_several_slices_count_each_for_its_endpoints() -> None:
    """Named target ports may differ between pods."""
    index = small()
    index.set_slice(Slice("default", "db-2", "db", (Endpoint("10.244.1.8", "db-8"),), (Port("http", "tcp", 81),)))
    found = asked(answers_of(index), f"_http._tcp.{DB}", "SRV")
    assert texts(found) == [f"SRV 0 33 80 10-244-1-3.{DB}.", f"SRV 0 33 80 db-0.{DB}.", f"SRV 0 33 81 db-8.{DB}."]


def test_a_target_that_no_message_can_have_is_none() -> None:
    """Kubernetes' rules allow labels that are too long for DNS."""
    index = small()
    for name, target in (("long", "a" * 64 + ".example"), ("empty", "a..example"), ("letters", "b\u00fccher.example")):
        index.set_service(Service("default", name, external=target))
        assert asked(answers_of(index), f"{name}.default.svc.cluster.local", "CNAME").rcode() == NXDOMAIN


def test_a_port_of_two_protocols_is_one_target() -> None:
    """As that of DNS itself."""
    index = small()
    index.set_service(Service("default", "both", ("10.96.0.7",), (Port("dns", "udp", 53), Port("dns-tcp", "tcp", 53))))
    answers = answers_of(index)
    name = "both.default.svc.cluster.local"
    assert texts(asked(answers, name, "SRV")) == [f"SRV 0 100 53 {name}."]
    assert texts(asked(answers, f"_dns-tcp._tcp.{name}", "SRV")) == [f"SRV 0 100 53 {name}."]
