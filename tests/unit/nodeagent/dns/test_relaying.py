"""Responses of other servers, read and written again: compared with the messages of dnspython, which the resolver does not use."""

from __future__ import annotations

import contextlib
import struct

import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.dns import reading, wire
from nodeagent.dns.reading import Malformed, Message
from tests.unit.nodeagent.dns.test_index import calls

NAME = "www.Corp.example."
# Of each type whose data has names, and others.
SAMPLES = {
    "A": "192.0.2.1", "AAAA": "2001:db8::1", "NS": "ns.corp.example.", "CNAME": "web.corp.example.", "PTR": "a.b.",
    "SOA": "ns.corp.example. root.corp.example. 1 2 3 4 5", "MX": "10 mail.corp.example.", "TXT": '"a" "b"', "HINFO": '"x" "y"',
    "SRV": "1 2 80 web.corp.example.", "NAPTR": '1 2 "u" "E2U+sip" "!x!y!" sip.corp.example.', "RP": "a.corp.example. b.example.",
    "AFSDB": "1 afs.corp.example.", "RT": "1 rt.corp.example.", "PX": "1 a.corp.example. b.example.", "KX": "1 kx.corp.example.",
    "DNAME": "other.example.", "CAA": '0 issue "ca.example"', "DS": "1 8 2 " + "ab" * 32, "DNSKEY": "257 3 8 AQID",
    "NSEC": "z.example. A TXT", "NSEC3": "1 0 1 aabb 2t7b4g4vsa5smi47k61mv5bv1a22bojr A", "TLSA": "3 1 1 " + "ab" * 32, "SSHFP": "1 1 " + "ab" * 20,
    "RRSIG": "A 8 2 60 20300101000000 20200101000000 1 corp.example. AQID", "URI": '1 2 "http://x"', "SPF": '"v"',
    "LOC": "1 2 3.000 N 4 5 6.000 E 7.00m", "HTTPS": "1 . alpn=h2", "SVCB": "1 s.example. port=53", "EUI48": "00-00-5e-00-53-2a",
    "TYPE65281": "\\# 3 010203",
}  # fmt: skip


def response(kinds: list[str], *, edns: bool = True, ttl: int = 100) -> dns.message.Message:
    """With the records of these types in each section."""
    found = dns.message.make_response(dns.message.make_query(NAME, "A", use_edns=0 if edns else -1))
    for section in (found.answer, found.authority, found.additional):
        for kind in kinds:
            section.append(dns.rrset.from_text(NAME, ttl, "IN", kind, SAMPLES[kind]))
    return found


def relayed(data: bytes, *, limit: int = 65535, age: int = 0, name: str = NAME) -> dns.message.Message:
    query = wire.parse(dns.message.make_query(name, "A", use_edns=0).to_wire())
    return dns.message.from_wire(wire.relayed(query, reading.read(data, 1000), limit, age=age, most=3600).data)


@pytest.mark.parametrize("kind", SAMPLES)
def test_records_of_every_type_are_passed_on(kind: str) -> None:
    """In each section, with what is left of their TTLs, and names that had been compressed."""
    given_ = response([kind, "MX" if kind != "MX" else "A"])
    found = relayed(given_.to_wire(), age=30)
    assert [found.answer, found.authority, found.additional] == [given_.answer, given_.authority, given_.additional]
    assert {item.ttl for item in found.answer + found.authority + found.additional} == {70}
    assert found.edns == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(sorted(SAMPLES)), unique=True, max_size=8), st.integers(60, 1500))
def test_what_does_not_fit_is_left_out_from_the_end(kinds: list[str], limit: int) -> None:
    """Answers with the flag TC, the sections after them without."""
    given_ = response(kinds)
    query = wire.parse(dns.message.make_query(NAME, "A", use_edns=0).to_wire())
    made = wire.relayed(query, reading.read(given_.to_wire(), 1000), limit, age=0, most=3600)
    assert len(made.data) <= limit
    found = dns.message.from_wire(made.data)
    assert found.answer == given_.answer[: len(found.answer)]
    assert bool(found.flags & dns.flags.TC) is (len(found.answer) < len(given_.answer))
    assert found.additional in ([], given_.additional)


@pytest.mark.parametrize("kind", sorted(reading._OBSOLETE))
def test_records_of_obsolete_types_are_left_out(kind: int) -> None:
    """Their data may have compressed names, which would be others in another message."""
    question = dns.message.make_query(NAME, "A").to_wire()[12:]
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", type_, 1, 60, 4) + b"\xc0\x0c\0\0" for type_ in (kind, 1))
    found = reading.read(struct.pack("!6H", 1, 0x8180, 1, 2, 0, 0) + question + records, 1000)
    assert [item.type for item in found.answer] == [1]


@pytest.mark.parametrize(
    ("kind", "data"), [("SRV", b"\0\1\0\2\0\x50\xc0\x0c"), ("DNAME", b"\xc0\x0c"), ("MX", b"\0\1\1a\xc0\x0c")]
)
def test_compressed_names_are_read_in_data_of_every_type_that_had_some(kind: str, data: bytes) -> None:
    """RFC 3597, 4: some servers compress those of SRV records, which they should not."""
    head = struct.pack("!6H", 1, 0x8180, 1, 1, 0, 0) + b"\7example\3com\0\0\x21\0\1\xc0\x0c"
    record = struct.pack("!HHIH", dns.rdatatype.from_text(kind), 1, 60, len(data)) + data
    [found] = reading.read(head + record, 1000).answer
    assert found.data == data.replace(b"\xc0\x0c", b"\7example\3com\0")


def test_the_letters_of_the_client_come_back() -> None:
    """Of the question, and of names that are a part of it."""
    found = relayed(response(["A", "MX"]).to_wire(), name="wWw.cOrP.eXaMpLe.")
    assert found.question[0].name.to_text() == found.answer[0].name.to_text() == "wWw.cOrP.eXaMpLe."


def test_an_answer_has_a_bound() -> None:
    """What is beyond it is not read."""
    many = dns.message.make_response(dns.message.make_query(NAME, "TXT"))
    many.answer = [dns.rrset.from_text_list(NAME, 60, "IN", "TXT", [str(number) for number in range(1500)])]
    found = reading.read(many.to_wire(max_size=65535), 1000)
    assert (len(found.answer), found.truncated) == (1000, True)
    assert relayed(many.to_wire(max_size=65535)).flags & dns.flags.TC


def test_records_that_do_not_fit_are_not_made() -> None:
    """A large answer costs a datagram what the datagram holds."""
    taken = 0
    query = wire.parse(dns.message.make_query(NAME, "TXT").to_wire())

    class Counted(list[reading.RR]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            nonlocal taken
            for item in super().__iter__():
                taken += 1
                yield item

    records = Counted(reading.RR(query.name, 16, 1, 60, b"\3" + b"%03d" % number) for number in range(1000))
    made = wire.relayed(query, Message(0x8180, 0, records), 512, age=0, most=60)
    assert taken == int.from_bytes(made.data[6:8], "big") + 1 < 50


@pytest.mark.parametrize(
    "names",
    [
        b"\xc0\x1d", b"\xc0\xff", b"\x01a\xc0\x1d", b"\x01a\xc0\x1f", b"\x40a\0", b"\x3f", b"\xc0", b"\x80\0",
        (b"\x3f" + b"a" * 63) * 4 + b"\0", (b"\x01a") * 122 + b"\xc0\x0c",
    ],
)  # fmt: skip
def test_names_that_lead_nowhere_are_malformed(names: bytes) -> None:
    """To themselves, forward, behind the message, with too long a label or too many."""
    question = b"\7example\3com\0\0\1\0\1"
    assert len(question) + 12 == 0x1D
    data = struct.pack("!6H", 1, 0x8180, 1, 1, 0, 0) + question + names + struct.pack("!HHIH", 1, 1, 60, 0)
    with pytest.raises(Malformed):
        reading.read(data, 1000)


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_upset_the_reader(data: bytes, question: bool) -> None:
    """They are a message that can be passed on, or malformed."""
    head = b"\1\2\x81\x80\0\1\0\2\0\1\0\1\7example\3com\0\0\1\0\1" if question else b""
    query = wire.parse(dns.message.make_query("example.com", "A").to_wire())
    try:
        found = reading.read(head + data, 1000)
    except Malformed:
        return
    assert len(wire.relayed(query, found, 512, age=0, most=60).data) <= 512
    assert 0 <= reading.lifetime(found, most=60, most_negative=30) <= 60


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(sorted(SAMPLES)), min_size=1, max_size=5), st.data())
def test_damaged_messages_are_malformed_or_answers(kinds: list[str], data: st.DataObject) -> None:
    """Whichever bytes of them are others."""
    raw = bytearray(response(kinds).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(12, len(raw) - 1))] = data.draw(st.integers(0, 255))
    query = wire.parse(dns.message.make_query(NAME, "A").to_wire())
    try:
        found = reading.read(bytes(raw), 1000)
    except Malformed:
        return
    assert len(wire.relayed(query, found, 1232, age=0, most=60).data) <= 1232


@pytest.mark.parametrize("prefix", [b"", b"\1b"])
def test_names_of_pointers_cost_no_more_than_others(prefix: bytes) -> None:
    """Each of them may have 127 labels: beyond a bound of all, the message is malformed."""

    def message(labels: int) -> bytes:
        head = struct.pack("!6H", 1, 0x8180, 1, 1000, 1000, 999) + b"\7example\3com\0\0\x10\0\1"
        name = prefix + struct.pack("!H", 0xC000 | len(head))
        record = name + struct.pack("!HHIH", 17, 1, 60, 2 * len(name)) + name + name
        return head + b"\1a" * labels + b"\0" + struct.pack("!HHIH", 16, 1, 60, 1) + b"\0" + record * 2998

    def read(data: bytes) -> None:
        with contextlib.suppress(Malformed):
            reading.read(data, 1000)

    # Without the bound 40 million.
    assert calls(lambda: read(message(120))) < 1_000_000


def test_the_highest_bit_of_a_ttl_means_none() -> None:
    """RFC 2181, 8."""
    data = bytearray(response(["A"], edns=False).to_wire())
    at = data.index(struct.pack("!HHI", 1, 1, 100))
    data[at + 4] = 0x80
    assert reading.read(bytes(data), 1000).answer[0].ttl == 0
