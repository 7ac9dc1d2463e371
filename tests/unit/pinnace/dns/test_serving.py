"""The common server: turns and bounds of clients, over UDP and TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

import pytest

from pinnace.dns import messages, serving, turns
from pinnace.dns.serving import Dropped, Resolve, Server
from pinnace.dns.turns import Turns
from tests.support import nameserver
from tests.support.awaiting import eventually
from tests.support.dnsclients import Address, by_tcp, by_udp
from tests.support.nameserver import question

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# Queries of one socket in a burst: the kernel keeps those of two, and the answers of one.
EACH = 100


@asynccontextmanager
async def served(resolve: Resolve, dropped: Dropped | None = None) -> AsyncIterator[Address]:
    udp, tcp = nameserver.sockets("127.0.0.1")
    address = udp.getsockname()
    for sock in (udp, tcp):
        sock.setblocking(False)
    task = asyncio.ensure_future(Server(resolve, dropped).serve([udp], [tcp]))
    await asyncio.sleep(0)
    try:
        yield address
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        udp.close()


def refused(query: bytes, tcp: bool) -> bytes:
    return messages.failure(query, messages.REFUSED)


async def test_a_client_that_floods_has_its_share_of_waiting_queries_alone() -> None:
    """With answers that never come, its queries beyond the bound are dropped, and those of others are not."""
    release, dropped = asyncio.Event(), Dropped()
    open_: list[bytes] = []

    async def never(query: bytes, tcp: bool) -> bytes:
        open_.append(query)
        await release.wait()
        return messages.failure(query, messages.SERVFAIL)

    async with served(never, dropped) as address:
        with client("127.0.0.1", address) as flood, client("127.0.0.2", address) as other:
            for number in range(serving.MAX_QUERIES_EACH * 2):
                flood.send(question("web.test", number))
                await asyncio.sleep(0)
            await eventually(lambda: dropped.queries == serving.MAX_QUERIES_EACH)
            assert len(open_) == serving.MAX_QUERIES_EACH
            other.send(question("web.test"))
            await eventually(lambda: len(open_) == serving.MAX_QUERIES_EACH + 1)
            release.set()
            await eventually(lambda: len(open_) == serving.MAX_QUERIES_EACH + 1)
            flood.send(question("web.test"))
            await eventually(lambda: len(open_) == serving.MAX_QUERIES_EACH + 2)


async def test_a_burst_of_one_client_is_answered_and_others_take_turns() -> None:
    """As of an application that resolves 250 names at once. A query of another client is answered before its second."""
    order: list[int] = []

    def noted(query: bytes, tcp: bool) -> bytes:
        order.append(messages.identity(query))
        return refused(query, tcp)

    with prepared(5) as (udp, tcp, burst, other):
        await send(burst[:2])
        other.send(question("web.test", 9999))
        task = served_on(udp, tcp, noted, dropped := Dropped())
        await taken()
        await send(burst[2:])
        assert [await received(one) for one in burst] == [100] * 5
        await ended_task(task)
    assert order.index(9999) == 1
    assert dropped.queue == 0


async def test_a_burst_for_other_name_servers_is_answered() -> None:
    """Where each answer has to be waited for."""
    release, begun = asyncio.Event(), 0

    async def later(query: bytes) -> bytes:
        nonlocal begun
        begun += 1
        await release.wait()
        return messages.failure(query, messages.REFUSED)

    with prepared(5) as (udp, tcp, burst, _):
        task = served_on(udp, tcp, lambda query, tcp: later(query), dropped := Dropped())
        await send(burst)
        await eventually(lambda: begun + dropped.queries + dropped.queue == 500)
        release.set()
        assert [await received(one) for one in burst] == [100] * 5
        await ended_task(task)


async def test_a_client_beyond_its_share_of_the_queue_loses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, and answered again after that."""
    monkeypatch.setattr(turns, "MAX_QUEUED", 100)
    dropped = Dropped()
    with prepared(2) as (udp, tcp, flood, other):
        await send(flood)
        await send([other], 1)
        task = served_on(udp, tcp, refused, dropped)
        assert [await received(one, count) for one, count in zip((*flood, other), (100, 0, 1), strict=True)] == [100, 0, 1]
        assert dropped.queue == 100
        await send(flood[1:], 1)
        assert await received(flood[1], 1) == 1
        await ended_task(task)


@contextlib.contextmanager
def prepared(count: int) -> Iterator[tuple[socket.socket, socket.socket, list[socket.socket], socket.socket]]:
    """UDP and TCP sockets of a server that is to be started, so many sockets of one client, as an application has one for each
    lookup, and one of another client."""
    with contextlib.ExitStack() as stack:
        udp, tcp = nameserver.sockets("127.0.0.1")
        stack.enter_context(udp)
        first = [stack.enter_context(client("127.0.0.1", udp.getsockname())) for _ in range(count)]
        second = stack.enter_context(client("127.0.0.2", udp.getsockname()))
        for sock in (udp, tcp, *first, second):
            sock.setblocking(False)
        yield udp, tcp, first, second


def served_on(udp: socket.socket, tcp: socket.socket, resolve: Resolve, dropped: Dropped) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(Server(resolve, dropped).serve([udp], [tcp]))


async def send(clients: Iterable[socket.socket], count: int = EACH) -> None:
    """So many queries of each, which fit the kernel's buffer of the server's socket; the server takes them before the next."""
    for number, sock in enumerate(clients):
        for _ in range(count):
            sock.send(question("web.test", number))
        if number % 2:
            await taken()


async def taken() -> None:
    """Turns of the event loop in which the server, once it serves, takes what has come."""
    for _ in range(4):
        await asyncio.sleep(0)


async def received(sock: socket.socket, count: int = EACH) -> int:
    """The number of datagrams that have come, when there are as many or after some seconds."""
    found = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while found < count:
                await asyncio.get_running_loop().sock_recv(sock, 512)
                found += 1
    return found


async def ended_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_query_that_fails_delays_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It has an answer itself; those that were queued with it are answered without another datagram. Over TCP too."""

    async def later() -> bytes:
        raise RuntimeError

    def work() -> bytes:
        raise RuntimeError

    async def work_later() -> Callable[[], bytes]:
        return work

    def bad(query: bytes, tcp: bool) -> serving.Answer:
        if b"later" in query:
            return later()
        if b"work" in query:
            return work_later()
        if b"bad" in query:
            raise RuntimeError
        return refused(query, tcp)

    udp, tcp = nameserver.sockets("127.0.0.1")
    address = udp.getsockname()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(f"127.0.0.{last}", address)) for last in range(1, 5)]
        for name, one in zip(("later", "bad", "work", "good"), clients, strict=True):
            one.send(question(f"{name}.test"))
            one.setblocking(False)
        for sock in (udp, tcp):
            sock.setblocking(False)
        task = asyncio.ensure_future(Server(bad).serve([udp], [tcp]))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            assert [messages.rcode(await loop.sock_recv(one, 512)) for one in clients[1:]] == [2, 2, 5]
        assert [messages.rcode(one) for one in await by_tcp(address, question("bad.test"), question("good.test"))] == [2, 5]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    udp.close()
    assert caplog.text.count("not_answered") == 1


async def test_queries_over_tcp_take_turns_with_those_over_udp() -> None:
    """What they cost counts against the same client."""
    spent = 0.0

    def costly(query: bytes, tcp: bool) -> bytes:
        nonlocal spent
        spent += 1.0
        return refused(query, tcp)

    found = Turns(lambda: spent)
    udp, tcp = nameserver.sockets("127.0.0.1")
    address = udp.getsockname()
    for sock in (udp, tcp):
        sock.setblocking(False)
    task = asyncio.ensure_future(Server(costly, turns=found).serve([udp], [tcp]))
    async with opened(address, "127.0.0.2", 1) as held:
        assert await asked(held[0])
    assert len(await by_udp(address, question("web.test"))) == 1
    # The second client began where the first one was served, and has used as much from there on.
    assert found._used == {"127.0.0.2": 1.0, "127.0.0.1": 1.0}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    udp.close()


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, of which bytes that are no query are a part."""
    monkeypatch.setattr(serving, "IDLE", 0.3)
    async with served(refused) as address, opened(address, "127.0.0.1", 3) as idle:
        for _, writer in idle:
            writer.write(b"\0")
        for reader, _ in idle:
            async with asyncio.timeout(5):
                assert await reader.read() == b""


async def test_a_client_beyond_its_connections_loses_its_longest_idle_one() -> None:
    """It is answered on the new one, and others keep theirs."""
    dropped, bound = Dropped(), serving.MAX_CONNECTIONS_EACH
    async with served(refused, dropped) as address, opened(address, "127.0.0.2", 1) as others:
        async with opened(address, "127.0.0.1", bound) as idle:
            # Bytes that are no whole query do not make it less idle; a query does.
            idle[1][1].write(b"\0")
            assert await asked(idle[0])
            assert len(await by_tcp(address, question("web.test"))) == 1
            assert dropped.connections == 1
            assert await ended(idle[1])
            assert await asked(idle[0])
            assert await asked(idle[2])
        assert await asked(others[0])


def held_back() -> tuple[asyncio.Event, serving.Resolve]:
    """A resolver that refuses all names; `slow` ones not before the event."""
    release = asyncio.Event()

    async def slow(query: bytes) -> bytes:
        await release.wait()
        return messages.failure(query, messages.REFUSED)

    return release, lambda query, tcp: slow(query) if b"slow" in query else refused(query, tcp)


async def test_a_connection_that_waits_for_an_answer_goes_after_idle_ones() -> None:
    """However long it waits; one that was answered is idle again."""
    release, resolve = held_back()

    async with served(resolve) as address, opened(address, "127.0.0.1", serving.MAX_CONNECTIONS_EACH) as held:
        (reader, writer), *others = held
        writer.write(framed(question("slow.test")))
        for one in others:
            assert await asked(one)
        assert len(await by_tcp(address, question("web.test"))) == 1
        assert await ended(others[0])
        release.set()
        async with asyncio.timeout(5):
            assert await reader.readexactly(2)


async def test_pods_that_hold_all_connections_do_not_keep_out_another() -> None:
    """Each new client gets one of the client that has most, idle or not, until all have as many."""
    dropped, bound = Dropped(), serving.MAX_CONNECTIONS_EACH
    release, resolve = held_back()

    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(served(resolve, dropped))
        holders = []
        for last in range(serving.MAX_CONNECTIONS // bound):
            holders.append(await stack.enter_async_context(opened(address, f"127.0.0.{last + 1}", bound)))
        for held in holders[:2]:
            for _, writer in held:
                writer.write(framed(question("slow.test")))
        for last in range(20, 30):
            async with opened(address, f"127.0.0.{last}", 1) as fifth:
                assert await asked(fifth[0])
        kept = [await stack.enter_async_context(opened(address, f"127.0.0.{last}", 1)) for last in range(40, 60)]
        for held in kept:
            assert await asked(held[0])
        assert dropped.connections >= len(kept)
        lost = [sum([await ended(one) for one in held]) for held in holders]
        assert max(lost) - min(lost) <= 1
        release.set()


async def test_queries_that_wait_of_a_few_clients_do_not_keep_out_another() -> None:
    """The client with most loses its oldest one, whose answer is given up."""
    dropped, given_up = Dropped(), 0
    release, begun = asyncio.Event(), 0

    async def never(query: bytes) -> bytes:
        nonlocal begun, given_up
        begun += 1
        try:
            await release.wait()
        except asyncio.CancelledError:
            given_up += 1
            raise
        return messages.failure(query, messages.SERVFAIL)

    clients = serving.MAX_QUERIES // serving.MAX_QUERIES_EACH
    async with served(lambda query, tcp: never(query), dropped) as address:
        with contextlib.ExitStack() as stack:
            for last in range(clients):
                flood = stack.enter_context(client(f"127.0.0.{last + 1}", address))
                for number in range(serving.MAX_QUERIES_EACH):
                    flood.send(question("web.test", number))
                    await asyncio.sleep(0)
            await eventually(lambda: begun == serving.MAX_QUERIES)
            fifth = stack.enter_context(client("127.0.0.99", address))
            fifth.setblocking(False)
            fifth.send(question("web.test", 7))
            await eventually(lambda: (begun, given_up, dropped.queries) == (serving.MAX_QUERIES + 1, 1, 1))
            release.set()
            async with asyncio.timeout(10):
                answer = await asyncio.get_running_loop().sock_recv(fifth, 512)
            assert messages.identity(answer) == 7


async def test_empty_and_unanswered_datagrams_end_nothing() -> None:
    """Nor does an answer to a port that is closed by then."""
    async with served(lambda query, tcp: b"" if len(query) < 12 else refused(query, tcp)) as address:
        for _ in range(3):
            with client("127.0.0.1", address) as gone:
                gone.send(b"")
                gone.send(question("web.test"))
        assert len(await by_udp(address, question("web.test"))) == 1


@asynccontextmanager
async def opened(address: Address, source: str, count: int) -> AsyncIterator[list[Stream]]:
    """Connections of one client."""
    found: list[Stream] = []
    try:
        for _ in range(count):
            found.append(await asyncio.open_connection(*address, local_addr=(source, 0)))
        # The server has them, too.
        await asyncio.sleep(0.01)
        yield found
    finally:
        for _, writer in found:
            writer.close()
        for _, writer in found:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def framed(query: bytes) -> bytes:
    return len(query).to_bytes(2, "big") + query


async def asked(stream: Stream) -> bool:
    """Whether a query on the connection is answered."""
    reader, writer = stream
    try:
        async with asyncio.timeout(5):
            writer.write(framed(question("web.test")))
            return len(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))) > 0
    except (OSError, asyncio.IncompleteReadError):
        return False


async def ended(stream: Stream) -> bool:
    """Whether the server has closed the connection."""
    try:
        async with asyncio.timeout(0.02):
            return await stream[0].read(1) == b""
    except OSError:
        return True
    except TimeoutError:
        return False


def client(source: str, address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((source, 0))
    sock.connect(address)
    return sock
