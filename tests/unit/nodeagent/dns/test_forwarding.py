"""Other names: which server is asked, what is kept for how long, and what happens when servers fail."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rrset
import pytest

from nodeagent.dns import forwarding
from nodeagent.dns.answers import Answers
from nodeagent.dns.forwarding import Forwarder, Servers
from nodeagent.dns.metrics import Metrics
from pinnace.clock import SystemClock
from tests.support.awaiting import eventually
from tests.support.dnszones import answers_of, small, texts

Reply = Callable[[dns.message.Message, str], dns.message.Message | list[dns.message.Message] | None]


class Upstream:
    """A name server on 127.0.0.1 (or another address of lo): `reply` makes the response, None for silence."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.asked = reply, []  # type: ignore[var-annotated]

    def respond(self, data: bytes, way: str) -> list[bytes]:
        query = dns.message.from_wire(data)
        self.asked.append((query.question[0].name.to_text(), way, query))
        found = self.reply(query, way)
        return [one.to_wire(max_size=65535) for one in (found if isinstance(found, list) else [found]) if one is not None]


@asynccontextmanager
async def upstreams(*replies: Reply, listening: bool = True, hangs: bool = False) -> AsyncIterator[tuple[list[Upstream], int]]:
    """Servers on 127.0.0.1, 127.0.0.2... and the port of all, over UDP alone if they are not `listening`. Without a reply over TCP
    the connection is closed, or `hangs`."""
    loop = asyncio.get_running_loop()
    found = [Upstream(reply) for reply in replies]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    closing = []
    for number, one in enumerate(found, start=1):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((f"127.0.0.{number}", port))
        udp.setblocking(False)

        def readable(udp: socket.socket = udp, one: Upstream = one) -> None:
            data, peer = udp.recvfrom(4096)
            for response in one.respond(data, "udp"):
                udp.sendto(response, peer)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one: Upstream = one) -> None:
            size = int.from_bytes(await reader.readexactly(2), "big")
            responses = one.respond(await reader.readexactly(size), "tcp")
            for response in responses:
                writer.write(len(response).to_bytes(2, "big") + response)
            if hangs and not responses:
                await reader.read()
            writer.close()

        loop.add_reader(udp, readable)
        tcp = await asyncio.start_server(connected, f"127.0.0.{number}", port) if listening else None
        closing.append((udp, tcp))
    try:
        yield found, port
    finally:
        for udp, server in closing:
            loop.remove_reader(udp)
            udp.close()
            if server is not None:
                server.close()


class ShiftedClock(SystemClock):
    """Real time, and `shift` seconds."""

    shift = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift


class Resolver:
    def __init__(self, port: int, *servers: str, **stubs: tuple[str, ...]) -> None:
        self.clock, self.metrics = ShiftedClock(), Metrics()
        self.forwarder = Forwarder(self.clock, self.metrics)
        domains = {tuple(domain.split("_")): addresses for domain, addresses in stubs.items()}
        self.forwarder.use(Servers(servers, domains, frozenset({"127.0.0.9"}), port))
        self.answers: Answers = answers_of(small(), self.clock, self.forwarder)

    async def ask(self, name: str, type_: str = "A", *, tcp: bool = False, **options: object) -> dns.message.Message:
        query = dns.message.make_query(name, type_, **options)  # type: ignore[arg-type]
        response = self.answers.resolve(query.to_wire(), tcp)
        later = response if isinstance(response, bytes) else await response
        found = dns.message.from_wire(later if isinstance(later, bytes) else later())
        assert query.is_response(found)
        return found


def records(query: dns.message.Message, *rdatas: str, ttl: int = 60, type_: str = "A") -> dns.message.Message:
    response = dns.message.make_response(query)
    response.answer = [dns.rrset.from_text(query.question[0].name, ttl, "IN", type_, *rdatas)]
    return response


def negative(query: dns.message.Message, rcode: int, *, ttl: int = 30, minimum: int = 20) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(rcode)  # type: ignore[arg-type]
    response.authority = [dns.rrset.from_text("example.", ttl, "IN", "SOA", f"a. b. 1 2 3 4 {minimum}")]
    return response


def web(query: dns.message.Message, way: str) -> dns.message.Message:
    return records(query, "192.0.2.1")


def silent(query: dns.message.Message, way: str) -> None:
    return None


async def test_an_answer_is_kept_for_its_ttl() -> None:
    """And its TTL becomes less meanwhile."""
    async with upstreams(web) as ((server,), port):
        resolver = Resolver(port, "127.0.0.1")
        first = await resolver.ask("www.example")
        assert (texts(first), first.answer[0].ttl, first.flags & dns.flags.AA) == (["A 192.0.2.1"], 60, 0)
        for shift, ttl in ((10, 50), (59, 1)):
            resolver.clock.shift = shift + 0.01
            assert (await resolver.ask("WWW.example")).answer[0].ttl == ttl
        assert len(server.asked) == 1
        resolver.clock.shift = 61
        assert (await resolver.ask("www.example")).answer[0].ttl == 60
        assert len(server.asked) == 2


@pytest.mark.parametrize("rcode", [0, 3])
async def test_that_a_name_is_not_there_is_kept_too(rcode: int) -> None:
    """For the lesser of the SOA's TTL and minimum (RFC 2308)."""
    async with upstreams(lambda query, way: negative(query, rcode)) as ((server,), port):
        resolver = Resolver(port, "127.0.0.1")
        found = await resolver.ask("no.example")
        assert (found.rcode(), found.answer, len(found.authority)) == (rcode, [], 1)
        resolver.clock.shift = 19
        assert (await resolver.ask("no.example")).rcode() == rcode
        assert len(server.asked) == 1
        resolver.clock.shift = 21
        await resolver.ask("no.example")
        assert len(server.asked) == 2


async def test_failures_and_answers_without_a_ttl_are_not_kept() -> None:
    """SERVFAIL, negative answers without an SOA record, and TTL 0."""

    def bare(query: dns.message.Message, way: str) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(3)  # type: ignore[arg-type]
        return response

    for reply in (bare, lambda query, way: records(query, "192.0.2.1", ttl=0)):
        async with upstreams(reply) as ((server,), port):
            resolver = Resolver(port, "127.0.0.1")
            for _ in range(2):
                await resolver.ask("www.example")
            assert len(server.asked) == 2


async def test_servers_are_asked_in_turn_and_silent_ones_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens at the first, the second fails, the third answers."""
    monkeypatch.setattr(forwarding, "UDP_WITHIN", 0.3)
    async with upstreams(silent, lambda query, way: negative(query, 2), web) as ((first, second, third), port):
        resolver = Resolver(port, "127.0.0.1", "127.0.0.2", "127.0.0.3")
        assert texts(await resolver.ask("www.example")) == ["A 192.0.2.1"]
        assert texts(await resolver.ask("other.example")) == ["A 192.0.2.1"]
        assert (len(first.asked), len(second.asked), len(third.asked)) == (1, 2, 2)
        assert 'pinnace_dns_forward_failures_total{to="127.0.0.1"} 1' in resolver.metrics.text()


async def test_without_an_answer_there_is_servfail() -> None:
    """And no silence; nor is this resolver asked itself."""
    resolver = Resolver(9, "127.0.0.9", "0.0.0.0", "::")
    assert (await resolver.ask("www.example")).rcode() == 2
    async with upstreams(lambda query, way: negative(query, 5)) as (_, port):
        assert (await Resolver(port, "127.0.0.1").ask("www.example")).rcode() == 5


async def test_an_expired_answer_is_given_while_no_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a short TTL, for an hour (RFC 8767)."""
    monkeypatch.setattr(forwarding, "UDP_WITHIN", 0.1)
    replies: list[Reply] = [web, silent, silent, silent, silent]
    async with upstreams(lambda query, way: replies.pop(0)(query, way)) as (_, port):  # type: ignore[arg-type]
        resolver = Resolver(port, "127.0.0.1")
        await resolver.ask("www.example")
        resolver.clock.shift = 61
        stale = await resolver.ask("www.example")
        assert (texts(stale), stale.answer[0].ttl) == (["A 192.0.2.1"], 5)
        resolver.clock.shift = 61 + 3600
        assert (await resolver.ask("www.example")).rcode() == 2


async def test_truncated_answers_are_queried_over_tcp() -> None:
    """For clients of UDP too, who get what fits."""

    def large(query: dns.message.Message, way: str) -> dns.message.Message:
        response = records(query, *(f"192.0.2.{number}" for number in range(250)))
        if way == "udp":
            response.answer, response.flags = [], response.flags | dns.flags.TC
        return response

    async with upstreams(large) as ((server,), port):
        resolver = Resolver(port, "127.0.0.1")
        cut = await resolver.ask("large.example", use_edns=0)
        assert cut.flags & dns.flags.TC
        assert len(texts(cut)) > 50
        assert len(texts(await resolver.ask("large.example", tcp=True))) == 250
        assert [way for _, way, _ in server.asked] == ["udp", "tcp"]


async def test_a_question_is_asked_once_at_a_time() -> None:
    """Whatever the number of clients; a loop through another server ends in one query."""
    async with upstreams(web) as ((server,), port):
        resolver = Resolver(port, "127.0.0.1")
        found = await asyncio.gather(*(resolver.ask("www.example") for _ in range(50)))
        assert {tuple(texts(one)) for one in found} == {("A 192.0.2.1",)}
        assert len(server.asked) == 1


async def test_forged_responses_are_not_taken() -> None:
    """To another question, or with another identity; the right one is waited for."""

    def forged(query: dns.message.Message, way: str) -> list[dns.message.Message]:
        other = records(dns.message.make_query("evil.example", "A", id=query.id), "198.51.100.1")
        guessed = records(query, "198.51.100.2")
        guessed.id ^= 1
        return [other, guessed, records(query, "192.0.2.1")]

    async with upstreams(forged) as (_, port):
        assert texts(await Resolver(port, "127.0.0.1").ask("www.example")) == ["A 192.0.2.1"]


async def test_queries_have_identities_and_ports_that_differ() -> None:
    """So that a forger has to guess both (RFC 5452)."""
    async with upstreams(web) as ((server,), port):
        resolver = Resolver(port, "127.0.0.1")
        for number in range(20):
            await resolver.ask(f"www{number}.example")
        assert len({query.id for _, _, query in server.asked}) > 15
        query = server.asked[0][2]
        assert (query.edns, query.payload, query.flags & dns.flags.RD) == (0, 1232, dns.flags.RD)


async def test_stub_domains_have_their_own_servers() -> None:
    """The longest that fits; other names are the default's."""
    async with upstreams(
        web, lambda query, way: records(query, "192.0.2.2"), lambda query, way: records(query, "192.0.2.3")
    ) as (_, port):
        resolver = Resolver(port, "127.0.0.1", corp_example=("127.0.0.2",), lab_corp_example=("127.0.0.3",))
        for name, last in (
            ("www.example", 1),
            ("corp.example", 2),
            ("a.corp.example", 2),
            ("b.LAB.corp.example", 3),
            ("xcorp.example", 1),
        ):
            assert texts(await resolver.ask(name)) == [f"A 192.0.2.{last}"], name


async def test_aliases_lead_out_of_the_cluster() -> None:
    """The CNAME record, and what the servers answer for its target: addresses, or that there is none."""

    def reply(query: dns.message.Message, way: str) -> dns.message.Message:
        return web(query, way) if query.question[0].name.to_text() == "www.example.com." else negative(query, 3)

    async with upstreams(reply) as (_, port):
        resolver = Resolver(port, "127.0.0.1")
        found = await resolver.ask("ext.default.svc.cluster.local")
        assert texts(found) == ["A 192.0.2.1", "CNAME www.example.com."]
        resolver.clock.shift = 2
        assert texts(await resolver.ask("ext.default.svc.cluster.local")) == texts(found)
    async with upstreams(lambda query, way: negative(query, 3)) as (_, port):
        found = await Resolver(port, "127.0.0.1").ask("ext.default.svc.cluster.local")
        assert (found.rcode(), texts(found), len(found.authority)) == (3, ["CNAME www.example.com."], 1)


async def test_an_alias_to_a_name_without_such_a_record_has_the_soa_record() -> None:
    """At the end of the other zone's own chain, too."""

    def reply(query: dns.message.Message, way: str) -> dns.message.Message:
        response = negative(query, 0)
        response.answer = [dns.rrset.from_text(query.question[0].name, 60, "IN", "CNAME", "else.example.")]
        return response

    async with upstreams(reply) as (_, port):
        found = await Resolver(port, "127.0.0.1").ask("ext.default.svc.cluster.local", "AAAA")
        assert texts(found) == ["CNAME else.example.", "CNAME www.example.com."]
        assert [item.rdtype.name for item in found.authority] == ["SOA"]


async def test_a_large_answer_is_made_once_for_all_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """And cut to as many records as the cluster's answers have."""
    # This server takes seconds for it on a busy machine.
    for name in ("UDP_WITHIN", "TCP_WITHIN", "ALL_WITHIN"):
        monkeypatch.setattr(forwarding, name, 60.0)

    def large(query: dns.message.Message, way: str) -> dns.message.Message:
        response = records(query, *(f"192.{number >> 8}.2.{number & 255}" for number in range(4000)))
        if way == "udp":
            response.answer, response.flags = [], response.flags | dns.flags.TC
        return response

    async with upstreams(large) as (_, port):
        resolver = Resolver(port, "127.0.0.1")
        whole = await resolver.ask("large.example", tcp=True)
        assert len(texts(whole)) == 1000
        assert whole.flags & dns.flags.TC
        made = resolver.metrics._answers.total()
        for name in ("LARGE.example", "large.EXAMPLE", "lArGe.example"):
            found = await resolver.ask(name, tcp=True)
            assert found.question[0].name.to_text() == f"{name}."
        # One more when a second has passed meanwhile, and with it the TTLs.
        assert resolver.metrics._answers.total() <= made + 1


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "dropped"])
async def test_a_truncated_answer_serves_where_tcp_is_blocked(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    """With its records and the flag TC, also over TCP, and not from the cache. The server counts as one that answers, and is
    not queried over TCP for a while."""
    monkeypatch.setattr(forwarding, "TCP_WITHIN", 0.3)

    def large(query: dns.message.Message, way: str) -> dns.message.Message | None:
        response = records(query, "192.0.2.1", "192.0.2.2")
        response.flags |= dns.flags.TC
        return response if way == "udp" else None

    async with upstreams(large, web, listening=not refused, hangs=True) as ((server, second), port):
        resolver = Resolver(port, "127.0.0.1", "127.0.0.2")
        for tcp in (False, True):
            found = await resolver.ask("large.example", tcp=tcp)
            assert (found.rcode(), sorted(texts(found))) == (0, ["A 192.0.2.1", "A 192.0.2.2"])
            assert found.flags & dns.flags.TC
        assert [way for _, way, _ in server.asked] == (["udp"] * 2 if refused else ["udp", "tcp", "udp"])
        assert not second.asked
        resolver.clock.shift = forwarding.AVOIDED + 1
        await resolver.ask("large.example")
        assert 'pinnace_dns_forward_failures_total{to="127.0.0.1"} 2' in resolver.metrics.text()


async def test_a_truncated_answer_serves_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole question, in which TCP has what others have left."""
    monkeypatch.setattr(forwarding, "ALL_WITHIN", 0.5)

    def large(query: dns.message.Message, way: str) -> dns.message.Message | None:
        response = records(query, "192.0.2.1")
        response.flags |= dns.flags.TC
        return response if way == "udp" else None

    async with upstreams(large, hangs=True) as (_, port):
        assert texts(await Resolver(port, "127.0.0.1").ask("large.example")) == ["A 192.0.2.1"]


async def test_an_answer_truncated_to_nothing_is_none_where_tcp_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next server is queried, and first from then on."""
    monkeypatch.setattr(forwarding, "TCP_WITHIN", 0.3)

    def empty(query: dns.message.Message, way: str) -> dns.message.Message | None:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return response if way == "udp" else None

    async with upstreams(empty, web) as ((first, _), port):
        resolver = Resolver(port, "127.0.0.1", "127.0.0.2")
        for name in ("a.example", "b.example"):
            assert texts(await resolver.ask(name)) == ["A 192.0.2.1"]
        assert [way for _, way, _ in first.asked] == ["udp", "tcp"]
        assert (await Resolver(port, "127.0.0.1").ask("a.example")).rcode() == 2


async def test_a_server_without_edns_is_asked_without() -> None:
    """FORMERR or NOTIMP to a query with EDNS (RFC 6891, 7)."""

    def old(query: dns.message.Message, way: str) -> dns.message.Message:
        return negative(query, 1) if query.edns >= 0 else web(query, way)

    async with upstreams(old) as (_, port):
        assert texts(await Resolver(port, "127.0.0.1").ask("www.example")) == ["A 192.0.2.1"]


async def test_signatures_are_asked_for_by_clients_that_want_them() -> None:
    """DO and CD go with the question, and answers are kept apart."""
    async with upstreams(web) as ((server,), port):
        resolver = Resolver(port, "127.0.0.1")
        await resolver.ask("www.example")
        await resolver.ask("www.example", want_dnssec=True)
        await resolver.ask("www.example", want_dnssec=True, flags=dns.flags.RD | dns.flags.CD)
        assert [(bool(query.ednsflags & dns.flags.DO), bool(query.flags & dns.flags.CD)) for _, _, query in server.asked] == [
            (False, False), (True, False), (True, True)
        ]  # fmt: skip


async def test_bounds_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of answers that are kept, and of questions under way."""
    monkeypatch.setattr(forwarding, "MAX_KEPT", 3)
    async with upstreams(web) as (_, port):
        resolver = Resolver(port, "127.0.0.1")
        for number in range(9):
            await resolver.ask(f"www{number}.example")
        assert len(resolver.forwarder._kept) == 3
        monkeypatch.setattr(forwarding, "MAX_UNDER_WAY", 2)
        found = await asyncio.gather(*(resolver.ask(f"other{number}.example") for number in range(5)))
        assert sorted(one.rcode() for one in found) == [0, 0, 2, 2, 2]
        assert 'pinnace_dns_dropped_total{bound="forwarded"} 3' in resolver.metrics.text()


async def test_a_question_ends_with_the_last_client_that_waits_for_it() -> None:
    """A client that gives up, or loses its turn to others, leaves nothing under way; another client's question continues."""
    async with upstreams(silent) as (_, port):
        resolver = Resolver(port, "127.0.0.1")
        mine = [asyncio.ensure_future(resolver.ask(name)) for name in ("mine.example", "both.example")]
        other = asyncio.ensure_future(resolver.ask("both.example"))
        await eventually(lambda: len(resolver.forwarder._under_way) == 2)
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        assert [question.labels for question in resolver.forwarder._under_way] == [("both", "example")]
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert not resolver.forwarder._under_way


async def test_questions_whose_clients_have_an_expired_answer_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """They only renew the cache; a client that waits is served first."""
    monkeypatch.setattr(forwarding, "STALE_AFTER", 0.0)
    monkeypatch.setattr(forwarding, "MAX_UNDER_WAY", 2)
    async with upstreams(lambda query, way: web(query, way) if silence is False else None) as (_, port):
        silence = False
        resolver = Resolver(port, "127.0.0.1")
        for name in ("a.example", "b.example"):
            await resolver.ask(name)
        silence, resolver.clock.shift = True, 61
        for name in ("a.example", "b.example"):
            assert texts(await resolver.ask(name)) == ["A 192.0.2.1"]
        waiting = asyncio.ensure_future(resolver.ask("c.example"))
        await eventually(lambda: ("c", "example") in [question.labels for question in resolver.forwarder._under_way])
        assert len(resolver.forwarder._under_way) == 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await resolver.forwarder.close()


async def test_malformed_answers_are_failures() -> None:
    """As if there were none."""

    def malformed(query: dns.message.Message, way: str) -> dns.message.Message:
        response = records(query, "192.0.2.1")
        response.to_wire = lambda **_: (
            dns.message.make_response(query).to_wire()[:6] + b"\0\1" + dns.message.make_response(query).to_wire()[8:]
        )  # type: ignore[method-assign]
        return response

    before = threading.active_count()
    async with upstreams(malformed) as (_, port):
        assert (await Resolver(port, "127.0.0.1").ask("www.example")).rcode() == 2
    assert threading.active_count() == before
