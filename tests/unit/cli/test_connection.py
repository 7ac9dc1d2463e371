"""kctl's channels: each call with the certificate of its time, and calls that are under way stay on theirs."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from cli.connection import AioChannels, Channel
from cli.contexts import Context
from pinnace import pki
from pinnace.errors import Unauthenticated

CA = pki.new_ca(time.time())


class Server(grpc.GenericRpcHandler):
    """Answers `/t/Who` with the number of the caller's certificate, and streams it from `/t/Follow` whenever `more` is set."""

    def __init__(self) -> None:
        self.certificates: list[bytes] = []
        self.more = threading.Semaphore(0)
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=(self,))
        pair = pki.issue(CA, pki.SERVER_NAME, (), now=time.time(), hosts=(pki.SERVER_NAME,))
        credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], CA.certificate, require_client_auth=True)
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def context(self) -> Context:
        """With another certificate each time."""
        pair = pki.issue(CA, "kubernetes-admin", ("system:masters",), now=time.time())
        self.certificates.append(pair.certificate.strip())
        return Context("c", f"127.0.0.1:{self.port}", "default", CA.certificate, pair.certificate, pair.key)

    def _number(self, context: Any) -> bytes:
        return b"%d" % self.certificates.index(context.auth_context()["x509_pem_cert"][0].strip())

    def service(self, details: Any) -> Any:
        def who(request: bytes, context: Any) -> bytes:
            return self._number(context)

        def follow(request: bytes, context: Any) -> Iterator[bytes]:
            while context.is_active():
                if self.more.acquire(timeout=0.05):
                    yield self._number(context)

        if details.method == "/t/Who":
            return grpc.unary_unary_rpc_method_handler(who)
        return grpc.unary_stream_rpc_method_handler(follow)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.stop()


class Fresh:
    """Of a context that is renewed by `renew`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.renew()

    def renew(self) -> None:
        self._now = self._server.context()

    def __call__(self) -> Context:
        return self._now


def test_a_call_has_the_certificate_of_its_time(server: Server) -> None:
    """A stub that was made before the renewal as well."""
    fresh = Fresh(server)
    channel = Channel(fresh)
    who = channel.unary_unary("/t/Who")
    assert [who(b""), who.with_call(b"")[0]] == [b"0", b"0"]
    fresh.renew()
    assert [who(b""), who.with_call(b"")[0]] == [b"1", b"1"]
    channel.close()


def test_a_stream_goes_on_while_later_calls_have_another_certificate(server: Server) -> None:
    fresh = Fresh(server)
    channel = Channel(fresh)
    stream = channel.unary_stream("/t/Follow")(b"")
    for _ in range(3):
        server.more.release()
        assert next(stream) == b"0"
        fresh.renew()
        channel.unary_unary("/t/Who")(b"")
        gc.collect()
    stream.cancel()
    channel.close()


def test_a_context_that_cannot_be_renewed_fails_the_call(server: Server) -> None:
    def refuse() -> Context:
        raise Unauthenticated("expired")

    with pytest.raises(Unauthenticated):
        Channel(refuse).unary_unary("/t/Who")(b"")


async def test_asyncio_has_the_same(server: Server) -> None:
    """A channel that was left is closed with the last call on it."""
    fresh = Fresh(server)
    channels = AioChannels(fresh)
    async with channels.use() as first:
        stream = first.unary_stream("/t/Follow")(b"")
        for number in (b"1", b"2"):
            fresh.renew()
            async with channels.use() as channel:
                assert await channel.unary_unary("/t/Who")(b"") == number
            server.more.release()
            assert await stream.read() == b"0"
        assert first.get_state() is not grpc.ChannelConnectivity.SHUTDOWN
    assert first.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    await channels.close()


async def test_simultaneous_calls_share_a_channel(server: Server) -> None:
    channels = AioChannels(Fresh(server))

    async def use() -> Any:
        async with channels.use() as channel:
            await channel.unary_unary("/t/Who")(b"")
            return channel

    assert len({id(found) for found in await asyncio.gather(*(use() for _ in range(5)))}) == 1
    await channels.close()
