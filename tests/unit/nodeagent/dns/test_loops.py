"""Name servers that pass queries back to the resolver: found by a probe over real sockets, left out, and used again when cured."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import pytest

from nodeagent.dns import loops
from nodeagent.dns.forwarding import Servers
from nodeagent.dns.metrics import Metrics
from pinnace.clock import VirtualClock, settle
from pinnace.dns import messages, upstream
from pinnace.dns.serving import Server
from tests.support import nameserver
from tests.support.awaiting import eventually
from tests.support.dnszones import texts
from tests.unit.nodeagent.dns.test_forwarding import Resolver, upstreams, web


class Relay:
    """A name server, such as dnsmasq or systemd-resolved of the node, that passes on all queries to `to`, until it answers."""

    def __init__(self, to: str, port: int) -> None:
        self.to, self.port, self.asked, self.is_loop = to, port, [], True  # type: ignore[var-annotated]

    def resolve(self, query: bytes, tcp: bool) -> object:
        self.asked.append(messages.question(query))
        if self.is_loop:
            return upstream.exchange(upstream.address_of(self.to, self.port), query, tcp=tcp)
        return web(dns.message.from_wire(query), "udp").to_wire()


@asynccontextmanager
async def looped(*servers: str, **stubs: tuple[str, ...]) -> AsyncIterator[tuple[Resolver, Relay]]:
    """A resolver on 127.0.0.1, and a relay on 127.0.0.2 that leads back to it. The servers are those of the resolver."""
    udp, tcp = nameserver.sockets("127.0.0.1")
    port = udp.getsockname()[1]
    resolver, relay = Resolver(port, *servers, **stubs), Relay("127.0.0.1", port)
    relayed = nameserver.sockets("127.0.0.2", port)
    for sock in (udp, tcp, *relayed):
        sock.setblocking(False)
    tasks = [
        asyncio.ensure_future(Server(resolver.answers.resolve).serve([udp], [tcp])),
        asyncio.ensure_future(Server(relay.resolve).serve([relayed[0]], [relayed[1]])),  # type: ignore[arg-type]
        asyncio.ensure_future(resolver.forwarder.loops.run()),
    ]
    try:
        yield resolver, relay
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await resolver.forwarder.close()
        udp.close()
        relayed[0].close()


async def found_by(resolver: Resolver) -> None:
    """A probe has ended that found the relay."""
    loops = resolver.forwarder.loops
    await eventually(lambda: resolver.metrics.loops == ["127.0.0.2"] and not loops._names)


async def test_a_server_that_passes_queries_back_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    """Questions fail at once; the log and a metric name it, once."""
    async with looped("127.0.0.2") as (resolver, relay):
        await found_by(resolver)
        relay.asked.clear()
        async with asyncio.timeout(1):
            found = await asyncio.gather(*(resolver.ask(f"www{number}.example") for number in range(50)))
        assert {one.rcode() for one in found} == {2}
        assert relay.asked == []
    assert 'pinnace_dns_forward_loops{to="127.0.0.2"} 1' in resolver.metrics.text()
    assert [item.levelno for item in caplog.records if "forwarding_loop server=127.0.0.2" in item.message] == [logging.ERROR]


async def test_a_server_that_is_cured_is_asked_again() -> None:
    """By the next probe; one that is still in a loop is not."""
    async with looped("127.0.0.2") as (resolver, relay):
        await found_by(resolver)
        for cured in (False, True):
            probes = len(relay.asked)
            relay.is_loop = not cured
            resolver.clock.shift += loops.RECHECK
            resolver.forwarder.loops._wake.set()
            await eventually(lambda probes=probes: len(relay.asked) > probes)  # type: ignore[misc]
            await eventually(lambda cured=cured: (resolver.metrics.loops == []) is cured)  # type: ignore[misc]
        assert texts(await resolver.ask("www.example")) == ["A 192.0.2.1"]


async def test_another_server_is_asked_instead() -> None:
    """And the probe does not take it for one in a loop."""
    async with upstreams(web) as (_, port):
        resolver = Resolver(port, "127.0.0.1", corp_example=("127.0.0.1",))
        task = asyncio.ensure_future(resolver.forwarder.loops.run())
        await eventually(lambda: len(resolver.forwarder.loops._probed) == 2)
        assert texts(await resolver.ask("www.example")) == ["A 192.0.2.1"]
        assert resolver.metrics.loops == []
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_loop_of_a_stub_domain_is_that_domain_s_alone() -> None:
    """Names of others are asked for at the same server."""
    async with looped(corp_example=("127.0.0.2",)) as (resolver, relay):
        await found_by(resolver)
        assert all(name.endswith(b"\4corp\7example\0\0\1\0\1") for name in relay.asked)
        asked = len(relay.asked)
        assert (await resolver.ask("www.corp.example")).rcode() == 2
        assert len(relay.asked) == asked
        place = resolver.forwarder._servers.places()[0]
        assert place in resolver.forwarder.loops
        assert place._replace(domain=()) not in resolver.forwarder.loops


async def test_a_loop_that_begins_later_is_found_when_its_questions_fail() -> None:
    """Not by a timer: by the first question that has no answer, and at most every few seconds."""
    async with looped("127.0.0.2") as (resolver, relay):
        await found_by(resolver)
        relay.is_loop = False
        resolver.clock.shift += loops.RECHECK
        resolver.forwarder.loops._wake.set()
        await eventually(lambda: resolver.metrics.loops == [])
        relay.is_loop = True
        resolver.clock.shift += loops.PAUSE
        assert (await resolver.ask("www.example")).rcode() == 2
        await found_by(resolver)


async def test_the_resolver_s_own_address_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The node's resolv.conf has the cluster DNS address, of which other nodes know the same."""
    resolver = Resolver(9, "127.0.0.9")
    assert (await resolver.ask("www.example")).rcode() == 2
    assert "forwarding_loop server=127.0.0.9: it is this resolver" in caplog.text
    assert 'pinnace_dns_forward_loops{to="127.0.0.9"} 1' in resolver.metrics.text()
    resolver.forwarder.use(Servers(("127.0.0.1",), port=9))
    assert "forward_loops{" not in resolver.metrics.text()


async def test_a_client_cannot_make_a_server_look_like_a_loop() -> None:
    """A name that is no probe's is an ordinary question; nor does one count after its probe."""
    async with looped("127.0.0.2") as (resolver, relay):
        await found_by(resolver)
        [name, *_] = relay.asked
        relay.is_loop = False
        resolver.clock.shift += loops.RECHECK
        resolver.forwarder.loops._wake.set()
        await eventually(lambda: resolver.metrics.loops == [])
        labels = [name[at + 1 : at + 17].decode() for at in (0, 17)]
        assert texts(await resolver.ask(".".join(labels))) == ["A 192.0.2.1"]
        assert resolver.metrics.loops == []


async def test_a_probe_that_fails_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the exception: it is logged, and each server is probed again when it is due."""
    clock, asked_ = VirtualClock(), list[str]()

    async def exchange(server: str, query: bytes) -> bytes:
        asked_.append(server)
        raise EOFError if server == "192.0.2.1" else OSError

    found = loops.Loops(clock, Metrics(), exchange)
    task = asyncio.ensure_future(found.run())
    places = [loops.Place((), f"192.0.2.{number}") for number in (1, 2)]
    found.use(places)
    await settle()
    assert asked_ == ["192.0.2.1", "192.0.2.2"]
    assert "probe_failed" in caplog.text
    for place in places:
        found.suspect(place)
    await clock.advance(loops.PAUSE)
    assert asked_[2:] == ["192.0.2.1", "192.0.2.2"]
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_cuts_its_answer_and_closes_tcp_is_probed_again() -> None:
    """Its failure is one of that server, like silence."""
    cuts = 0

    def cut(query: dns.message.Message, way: str) -> list[dns.message.Message]:
        nonlocal cuts
        cuts += way == "tcp"
        response = dns.message.make_response(query)
        response.flags |= dns.flags.TC
        return [response] if way == "udp" else []

    async with upstreams(cut) as (_, port):
        resolver = Resolver(port, "127.0.0.1")
        task = asyncio.ensure_future(resolver.forwarder.loops.run())
        await eventually(lambda: cuts == 1)
        await eventually(lambda: not resolver.forwarder.loops._names)
        assert (await resolver.ask("www.example")).rcode() == 2
        before = cuts
        resolver.clock.shift += loops.PAUSE
        resolver.forwarder.loops._wake.set()
        await eventually(lambda: cuts > before)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
