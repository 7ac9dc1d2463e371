"""Channels connect directly, whatever proxies the environment has for image pulls; and no module makes its own."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

import pinnace
from pinnace import channels
from tests.support.proxy import Proxy, through_proxy

ROOT = Path(pinnace.__file__).parent.parent
CREDENTIALS = grpc.ssl_channel_credentials()
MAKERS = {"secure_channel", "insecure_channel"}


class Listener:
    """A port that accepts and says nothing; `accepted` is set by the first connection."""

    def __init__(self) -> None:
        self.accepted = asyncio.Event()
        self.port = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.set()
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found = Listener()
    async with await asyncio.start_server(found.accept, "127.0.0.1", 0) as server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@pytest.fixture
def environment(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> Any:
    with through_proxy(f"127.0.0.1:{listener.port}", monkeypatch) as found:
        yield found


MADE: dict[str, Callable[[str], Any]] = {
    "secure": lambda target: channels.secure(target, CREDENTIALS),
    "insecure": lambda target: channels.insecure(target),
    "with options": lambda target: channels.secure(target, CREDENTIALS, (("grpc.use_local_subchannel_pool", 1),)),
}


async def _use(channel: grpc.aio.Channel) -> None:
    async with channel:
        call = channel.unary_unary("/a/B")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(b"", timeout=5)


@pytest.mark.parametrize("kind", MADE)
async def test_a_channel_uses_no_proxy(kind: str, listener: Listener, environment: Proxy) -> None:
    await _use(MADE[kind](f"127.0.0.1:{listener.port}"))
    assert listener.accepted.is_set()
    assert environment.asked == []


async def test_a_blocking_channel_uses_no_proxy(listener: Listener, environment: Proxy) -> None:
    def use() -> None:
        with channels.blocking(f"127.0.0.1:{listener.port}", CREDENTIALS) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/a/B")(b"", timeout=5)

    await asyncio.to_thread(use)
    assert listener.accepted.is_set()
    assert environment.asked == []


async def test_a_channel_of_grpc_itself_uses_the_proxy(listener: Listener, environment: Proxy) -> None:
    """So the tests above can fail."""
    await _use(grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}"))
    assert f"CONNECT 127.0.0.1:{listener.port} HTTP/1.1" in {line.replace("HTTP/1.0", "HTTP/1.1") for line in environment.asked}


async def test_a_unix_socket_is_named_as_in_contexts(tmp_path: Path) -> None:
    accepted = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        writer.close()

    async with await asyncio.start_unix_server(accept, tmp_path / "s"):
        await _use(channels.insecure(f"unix://{tmp_path}/s"))
    assert accepted.is_set()


def test_no_other_module_makes_channels() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for role in ("pinnace", "controlplane", "nodeagent", "cli")
        for path in (ROOT / role).rglob("*.py")
        if path != Path(channels.__file__)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Attribute | ast.Name) and (node.attr if isinstance(node, ast.Attribute) else node.id) in MAKERS
    ]
    assert found == []
