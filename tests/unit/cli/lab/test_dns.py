"""The lab's DNS forwarder: the answer of this machine's resolver and no other, within bounds, whatever a client sends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.lab.dns.resolvers import Resolvers
from pinnace.clock import SystemClock
from pinnace.dns.serving import Server
from tests.support import nameserver
from tests.support.dnsclients import Address, by_tcp, by_udp, code
from tests.support.nameserver import NameServer, question

LARGE = [f"192.0.2.{number}" for number in range(200)]


@pytest.fixture
def upstream() -> Iterator[tuple[NameServer, int]]:
    """A name server of this machine on 127.0.0.53, and its port."""
    found = NameServer({"web.test": ["192.0.2.1"], "large.test": LARGE}, large={"large.test"})
    udp, tcp = nameserver.sockets("127.0.0.53")
    port = udp.getsockname()[1]
    with nameserver.serving(found, udp, tcp):
        yield found, port


@asynccontextmanager
async def forwarder(tmp_path: Path, port: int, *lines: str) -> AsyncIterator[Address]:
    """One with resolv.conf's lines; its address."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("\n".join(lines or ("nameserver 127.0.0.53",)))
    resolvers = Resolvers(conf, SystemClock(), port)

    udp, tcp = nameserver.sockets("127.0.0.1")
    address = udp.getsockname()
    for sock in (udp, tcp):
        sock.setblocking(False)
    serving = asyncio.ensure_future(Server(resolvers.answer).serve([udp], [tcp]))
    try:
        yield address
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        udp.close()


async def test_answers_come_from_the_machine_s_resolver(tmp_path: Path, upstream: tuple[NameServer, int]) -> None:
    """Over UDP and TCP, with the client's identity; what does not exist does not."""
    found, port = upstream
    async with forwarder(tmp_path, port) as address:
        (answer,) = await by_udp(address, question("web.test", 77))
        assert answer[:2] == (77).to_bytes(2, "big")
        assert answer.endswith(socket.inet_aton("192.0.2.1"))
        assert [code(item) for item in await by_udp(address, question("no.test"))] == [3]
        first, second = await by_tcp(address, question("web.test", 1), question("no.test", 2))
    assert (first[:2], code(first), second[:2], code(second)) == (b"\0\1", 0, b"\0\2", 3)
    assert ("web.test", "tcp") in found.asked


async def test_large_answers_come_by_tcp(tmp_path: Path, upstream: tuple[NameServer, int]) -> None:
    """UDP says that it was cut, as the resolver did; TCP has it whole."""
    async with forwarder(tmp_path, upstream[1]) as address:
        (cut,) = await by_udp(address, question("large.test"))
        (whole,) = await by_tcp(address, question("large.test"))
    assert cut[2] & 0x02
    assert len(whole) > 16 * len(LARGE)


async def test_the_next_resolver_is_asked_when_one_is_silent_or_gone(tmp_path: Path, upstream: tuple[NameServer, int]) -> None:
    """In the order of resolv.conf; without any that answers, SERVFAIL and no silence."""
    async with forwarder(tmp_path, upstream[1], "nameserver 127.0.0.99", "nameserver 127.0.0.53") as address:
        (answer,) = await by_udp(address, question("web.test"))
        assert answer.endswith(socket.inet_aton("192.0.2.1"))
    async with forwarder(tmp_path, upstream[1], "nameserver 127.0.0.98", "nameserver ::1") as address:
        answers = [*await by_udp(address, question("web.test", 5)), *await by_tcp(address, question("web.test", 5))]
    assert [(item[:2], code(item)) for item in answers] == [(b"\0\5", 2)] * 2


async def test_a_changed_resolv_conf_counts(tmp_path: Path, upstream: tuple[NameServer, int]) -> None:
    """As after a change of network; replaced by rename too."""
    async with forwarder(tmp_path, upstream[1], "nameserver 127.0.0.98") as address:
        assert [code(item) for item in await by_udp(address, question("web.test"))] == [2]
        (tmp_path / "new").write_text("nameserver 127.0.0.53")
        (tmp_path / "new").rename(tmp_path / "resolv.conf")
        await asyncio.sleep(1.1)
        assert [code(item) for item in await by_udp(address, question("web.test"))] == [0]


async def test_forged_answers_are_not_passed_on(tmp_path: Path, upstream: tuple[NameServer, int]) -> None:
    """To other questions, with other identities, and what is no answer at all: the right one is waited for."""
    found, port = upstream
    for number in range(50):
        query = question("evil.test", number)
        found.forged.append(query[:2] + b"\x81\x80" + query[4:])
    query = question("web.test")
    found.forged += [query, b"", b"\0", query[:2] + b"\x81\x80\xff\xff" + query[6:]]
    async with forwarder(tmp_path, port) as address:
        (answer,) = await by_udp(address, query)
    assert answer.endswith(socket.inet_aton("192.0.2.1"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (question("web.test")[:2] + b"\x81\x80" + question("web.test")[4:], None),
        (question("web.test")[:2] + b"\x29\x00" + question("web.test")[4:], 4),
        (question("web.test")[:-1], 1),
        (b"\0\1\1\0" + struct.pack("!4H", 2, 0, 0, 0) + question("web.test")[12:] * 2, 1),
        (b"\0\1\1\0" + struct.pack("!4H", 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", 1),
        (b"\0\1\1\0" + struct.pack("!4H", 1, 0, 0, 0) + b"\x3f" * 300, 1),
    ],
)
async def test_what_is_no_query_goes_nowhere(
    tmp_path: Path, upstream: tuple[NameServer, int], query: bytes, expected: int | None
) -> None:
    """It is answered with an error or not at all, and the next query is."""
    found, port = upstream
    async with forwarder(tmp_path, port) as address:
        answers = await by_udp(address, query, seconds=0.3) if query else []
        assert [code(item) for item in answers] == ([] if expected is None else [expected])
        if query:
            assert [code(item) for item in await by_tcp(address, query)] == ([] if expected is None else [expected])
        assert not found.asked
        assert len(await by_udp(address, question("web.test"))) == 1


def _names(text: str) -> Callable[[], list[str]]:
    from cli.lab import resolvconf

    return lambda: resolvconf.servers(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["127.0.0.1"]),
        ("nameserver 127.0.0.53\noptions edns0", ["127.0.0.53"]),
        (
            "# nameserver 192.0.2.9\n; nameserver 192.0.2.8\nnameserver\t192.0.2.1 # a\nnameserver 2001:db8::1\n",
            ["192.0.2.1", "2001:db8::1"],
        ),
        ("nameserver fe80::1%eth0\nnameserver localhost\nnameserver", ["fe80::1%eth0"]),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(9)), ["192.0.2.0", "192.0.2.1", "192.0.2.2"]),
    ],
)
def test_resolv_conf_is_read_as_glibc_reads_it(text: str, expected: list[str]) -> None:
    """Three servers at most; none means this machine; what is no address is passed over."""
    assert _names(text)() == expected


def test_nodes_get_the_machine_s_search_domains_and_the_lab_s_forwarder() -> None:
    """But none of its name servers, which they may not reach."""
    from cli.lab import resolvconf

    text = "nameserver 127.0.0.53\nsearch corp.example test\noptions edns0 trust-ad\nsortlist 192.0.2.0\n\n# x\n"
    assert resolvconf.for_nodes(text, "198.51.100.254") == (
        "nameserver 198.51.100.254\nsearch corp.example test\noptions edns0 trust-ad\n"
    )
