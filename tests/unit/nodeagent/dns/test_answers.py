"""Responses: sizes, EDNS, errors, turns of addresses, and what is kept of them."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.dns import answers as answers_module
from nodeagent.dns.answers import Answers
from nodeagent.dns.index import Index
from nodeagent.dns.records import Endpoint, Port, Service, Slice
from nodeagent.network import dnsrecords
from tests.support.dnszones import HTTP, answers_of, asked, small, texts, zone_of
from tests.support.services import service

WEB = "web.default.svc.cluster.local"
MANY = "many.default.svc.cluster.local"


def many(count: int) -> Index:
    index = small()
    index.set_service(Service("default", "many", ports=(HTTP,), headless=True))
    for part in range(0, count, 100):
        ends = tuple(Endpoint(f"10.244.{number >> 8}.{number & 255}") for number in range(part, min(part + 100, count)))
        index.set_slice(Slice("default", f"many-{part}", "many", ends, (HTTP,)))
    return index


def raw(answers: Answers, query: bytes, *, tcp: bool = False) -> dns.message.Message | None:
    response = answers.resolve(query, tcp)
    assert isinstance(response, bytes)
    return dns.message.from_wire(response) if response else None


@pytest.mark.parametrize(("edns", "limit"), [(None, 512), (100, 512), (900, 900), (1232, 1232), (4096, 1232), (65535, 1232)])
def test_what_does_not_fit_a_datagram_is_cut_and_marked(edns: int | None, limit: int) -> None:
    """With as many addresses as fit, for clients that ask no second time; over TCP there are all."""
    answers = answers_of(many(600))
    query = dns.message.make_query(MANY, "A", use_edns=-1 if edns is None else 0, payload=edns or 0)
    seen: set[str] = set()
    for _ in range(700):
        response = answers.resolve(query.to_wire(), False)
        assert isinstance(response, bytes)
        assert limit - 64 < len(response) <= limit
        found = dns.message.from_wire(response)
        assert found.flags & dns.flags.TC
        seen |= set(texts(found))
    # Each endpoint has its turn.
    assert len(seen) == 600
    whole = asked(answers, MANY, tcp=True)
    assert len(texts(whole)) == 600
    assert not whole.flags & dns.flags.TC
    srv = asked(answers, f"_http._tcp.{MANY}", "SRV", edns=None if edns is None else 0)
    assert srv.flags & dns.flags.TC
    assert 0 < len(texts(srv)) < 600
    assert len(texts(asked(answers, f"_http._tcp.{MANY}", "SRV", tcp=True))) == 600


def test_answers_are_bounded() -> None:
    """Each is made while other clients wait, whatever the endpoints and ports of a Service."""
    answers = answers_of(many(5000))
    assert len(texts(asked(answers, MANY, tcp=True))) == 1000
    assert 500 < len(texts(asked(answers, f"_http._tcp.{MANY}", "SRV", tcp=True))) <= 1000
    ports = tuple(Port(f"p{number}", "tcp", number) for number in range(1, 101))
    index = small()
    index.set_service(Service("default", "many", headless=True))
    index.set_slice(Slice("default", "many-1", "many", tuple(Endpoint(f"10.244.9.{n}", "same") for n in range(250)), ports))
    found = answers_of(index)
    listed = [{"name": item.name, "port": item.number, "protocol": "TCP"} for item in ports]
    more = [{"name": f"q{number}", "port": number, "protocol": "UDP"} for number in range(1, 201)]
    read = dnsrecords.service_of(service(ports=[*listed, *more]))
    assert read is not None
    assert len(read.ports) == 256
    assert len(texts(asked(found, MANY, "SRV", tcp=True))) == 100
    assert len(texts(asked(found, f"same.{MANY}", "SRV", tcp=True))) == 100
    assert len(texts(asked(found, f"same.{MANY}", tcp=True))) == 250


def test_addresses_take_turns() -> None:
    """Clients that use the first one use each."""
    answers = answers_of(many(7))
    firsts = [asked(answers, MANY).answer[0][0].to_text() for _ in range(14)]
    assert sorted(firsts[:7]) == sorted(firsts[7:]) == sorted(f"10.244.0.{number}" for number in range(7))


def test_the_client_s_letters_are_kept() -> None:
    """Some compare them, to find forged answers (0x20)."""
    answers = answers_of(small())
    for name in ("wEb.DEFAULT.svc.CLUSTER.local", "WEB.default.SVC.cluster.LOCAL", "aLiAs.default.svc.cluster.local"):
        found = asked(answers, name)
        assert found.question[0].name.to_text() == f"{name}."
        assert found.answer[0].name.to_text() == f"{name}."
    assert asked(answers, "x.cLuStEr.LoCaL").authority[0].name.to_text() == "cLuStEr.LoCaL."


def test_edns_is_answered_in_kind() -> None:
    """With our size and the client's DO; without it there is none, and another version is told of ours (RFC 6891)."""
    answers = answers_of(small())
    with_do = raw(answers, dns.message.make_query(WEB, "A", want_dnssec=True).to_wire())
    assert with_do is not None
    assert (with_do.edns, with_do.payload, with_do.ednsflags) == (0, 1232, dns.flags.DO)
    assert asked(answers, WEB, edns=None).edns == -1
    later = dns.message.make_query(WEB, "A", use_edns=1)
    found = raw(answers, later.to_wire())
    assert found is not None
    assert (found.rcode(), found.edns, texts(found)) == (16, 0, [])


@pytest.mark.parametrize(
    ("change", "rcode"),
    [
        (lambda query: query.set_opcode(dns.opcode.STATUS), 4),
        (lambda query: query.set_opcode(dns.opcode.NOTIFY), 4),
        (lambda query: query.set_opcode(dns.opcode.Opcode(7)), 4),
        (lambda query: query.question.append(query.question[0]), 1),
        (lambda query: query.question.clear(), 1),
    ],
)
def test_what_is_not_answered_with_records(change: object, rcode: int) -> None:
    """Its identity, and that recursion was desired, come back."""
    query = dns.message.make_query(WEB, "A")
    change(query)  # type: ignore[operator]
    found = raw(answers_of(small()), query.to_wire())
    assert found is not None
    assert (found.rcode(), found.id, found.flags & 0x8100) == (rcode, query.id, 0x8100)


@pytest.mark.parametrize("opcode", range(1, 16))
@pytest.mark.parametrize("edns", [False, True])
def test_operations_other_than_queries_are_not_implemented(opcode: int, edns: bool) -> None:
    """Whatever else the message has, such as the zone and the updates of one."""
    answers = answers_of(small())
    query = bytearray(dns.message.make_query(WEB, "A", use_edns=0 if edns else -1).to_wire())
    query[2] |= opcode << 3
    for data in (bytes(query), bytes(query[:12]), bytes(query[:6]) + b"\0\1\0\2" + bytes(query[10:]) + b"\xc0"):
        for tcp in (False, True):
            response = answers.resolve(data, tcp)
            assert isinstance(response, bytes)
            assert (response[:2], response[2] >> 3 & 15, response[3] & 15) == (data[:2], opcode, 4)


@pytest.mark.parametrize(
    ("type_", "class_"),
    [("AXFR", "IN"), ("IXFR", "IN"), ("A", "CH"), ("TXT", "CH"), ("A", "ANY"), ("MAILB", "IN"), ("TKEY", "IN")],
)
def test_transfers_and_other_classes_are_refused(type_: str, class_: str) -> None:
    """Over TCP too."""
    answers = answers_of(small())
    for tcp in (False, True):
        found = raw(answers, dns.message.make_query("cluster.local", type_, class_).to_wire(), tcp=tcp)
        assert found is not None
        assert (found.rcode(), found.answer) == (5, [])


def test_any_is_answered_with_one_small_record() -> None:
    """RFC 8482; a name that is not there is still not."""
    answers = answers_of(many(100))
    assert texts(asked(answers, MANY, "ANY")) == ['HINFO "RFC8482" ""']
    assert asked(answers, "no.default.svc.cluster.local", "ANY").rcode() == 3
    assert texts(asked(answers, "example.com", "ANY")) == ['HINFO "RFC8482" ""']


def test_responses_are_not_answered() -> None:
    """Nor is what has no header: two servers would answer each other for ever."""
    answers = answers_of(small())
    response = dns.message.make_response(dns.message.make_query(WEB, "A")).to_wire()
    for data in (response, response[:12], b"", b"\0" * 11):
        assert raw(answers, data) is None


def test_records_beside_the_question_are_malformed() -> None:
    """But for EDNS: a library keeps something of each further type."""
    answers = answers_of(small())
    query = dns.message.make_query(WEB, "A").to_wire()
    extra = b"\0" + struct.pack("!HHIH", 65400, 1, 0, 0)
    for counts in ((1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1), (1, 0, 0, 2)):
        found = raw(answers, query[:4] + struct.pack("!4H", *counts) + query[12:] + extra)
        assert found is not None
        assert found.rcode() == 1


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_upset_the_resolver(data: bytes) -> None:
    """Each query has an answer with its identity, or none is due."""
    answers = answers_of(small())
    for query in (data, b"\1\2\1\0\0\1\0\0\0\0\0\0" + data, b"\1\2\1\0\0\1\0\0\0\0\0\1" + data):
        for tcp in (False, True):
            response = answers.resolve(query, tcp)
            if not isinstance(response, bytes):
                response.close()  # type: ignore[attr-defined]
            elif response:
                assert response[:2] == query[:2]
                assert response[2] & 0x80
                dns.message.from_wire(response)


labels = st.binary(min_size=1, max_size=20)


@settings(deadline=None)
@given(st.lists(labels, max_size=6), st.integers(0, 65535), st.booleans())
def test_any_name_below_the_cluster_s_domain_is_answered(parts: list[bytes], type_: int, below: bool) -> None:
    """Also bytes that are no letters."""
    suffix = [b"default", b"svc", b"cluster", b"local"] if below else [b"cluster", b"local"]
    name = b"".join(bytes([len(part)]) + part for part in [*parts, *suffix]) + b"\0"
    query = b"\1\2\1\0\0\1\0\0\0\0\0\0" + name + struct.pack("!HH", type_, 1)
    response = answers_of(small()).resolve(query, False)
    assert isinstance(response, bytes)
    assert dns.message.from_wire(response).rcode() in (0, 1, 3, 5)


@pytest.mark.parametrize("tcp", [False, True])
def test_other_letters_and_options_get_the_same_kept_answer(tcp: bool) -> None:
    """Each with its own letters, identity and size; cookies, too, are options."""
    answers = answers_of(many(600))
    shown = len(texts(asked(answers, MANY, tcp=tcp)))
    made = answers._metrics._answers.total()
    for number, name in enumerate(("MANY.default.svc.cluster.local", "many.DEFAULT.svc.cluster.local", MANY)):
        for options in ([], [dns.edns.GenericOption(10, bytes([number]) * 8)]):
            query = dns.message.make_query(name, "A", use_edns=0, payload=4096 + number, options=options)
            found = raw(answers, query.to_wire(), tcp=tcp)
            assert found is not None
            assert query.is_response(found)
            assert found.question[0].name.to_text() == f"{name}."
            assert len(texts(found)) == shown > 70
    assert answers._metrics._answers.total() == made


def test_the_end_of_a_chain_without_such_a_record_says_so() -> None:
    """With the SOA record by which it is cached (RFC 2308, 2.2), as one without a chain."""
    index = small()
    index.set_service(Service("default", "to-db", external="db.default.svc.cluster.local"))
    index.set_service(Service("default", "to-none", external="no.default.svc.cluster.local"))
    answers = answers_of(index)
    for name, type_, rcode in (("to-db", "AAAA", 0), ("to-none", "A", 3), ("circle", "A", 0)):
        found = asked(answers, f"{name}.default.svc.cluster.local", type_)
        assert (found.rcode(), [item.rdtype.name for item in found.authority]) == (rcode, ["SOA"]), name
        assert all(text.startswith("CNAME") for text in texts(found))
    assert asked(answers, "to-db.default.svc.cluster.local").authority == []
    assert asked(answers, "to-db.default.svc.cluster.local", "CNAME").authority == []


def test_an_exception_is_a_failure_of_its_query(caplog: pytest.LogCaptureFixture) -> None:
    """And in the log once in a while: clients may repeat what causes it."""
    answers, index = answers_of(small()), small()
    index.set_service(Service("default", "bad", ("no address",), (HTTP,)))
    answers.use(zone_of(index))
    for _ in range(20):
        assert asked(answers, "bad.default.svc.cluster.local").rcode() == 2
    assert caplog.text.count("not_answered") == 1
    assert len(texts(asked(answers, WEB))) == 1


def test_kept_responses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In number and in bytes, whatever is asked."""
    monkeypatch.setattr(answers_module, "MAX_KEPT", 10)
    answers = answers_of(small())
    for number in range(50):
        asked(answers, f"x{number}.default.svc.cluster.local")
    assert len(answers._kept) == 10
    monkeypatch.setattr(answers_module, "MAX_TOTAL", 1000)
    answers = answers_of(small())
    for number in range(50):
        asked(answers, f"x{number}.default.svc.cluster.local")
    assert 0 < len(answers._kept) < 10
    answers.forget()
    assert len(answers._kept) == 0
