"""Responses that clients do not read are bounded for each user; others do not wait for them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.access.identity import Identity
from controlplane.http.messages import Request, Response
from controlplane.http.outgoing import SMALL, Congested, Outgoing
from controlplane.http.server import Web
from pinnace.clock import settle
from pinnace.errors import ApiError
from tests.support.front import Answer, front

SIZE = SMALL + 1


class Writer:
    """A write that ends when it is told to."""

    def __init__(self, outgoing: Outgoing, user: str, size: int = SIZE) -> None:
        self.writing = False
        self._end = asyncio.Event()
        self.task = asyncio.ensure_future(self._run(outgoing, user, size))

    async def _run(self, outgoing: Outgoing, user: str, size: int) -> None:
        async with outgoing.room(user, size):
            self.writing = True
            await self._end.wait()
        self.writing = False

    async def end(self) -> None:
        self._end.set()
        await settle()


async def writers(outgoing: Outgoing, *users: str, size: int = SIZE) -> list[Writer]:
    made = [Writer(outgoing, user, size) for user in users]
    await settle()
    return made


async def test_a_user_who_has_much_on_the_way_waits() -> None:
    """In order, until another of the user's pieces has left; another user does not wait."""
    outgoing = Outgoing(limit=100 * SIZE, share=2 * SIZE)
    found = await writers(outgoing, "a", "a", "a", "a", "b")
    assert [each.writing for each in found] == [True, True, False, False, True]
    await found[0].end()
    assert [each.writing for each in found] == [False, True, True, False, True]
    for each in found:
        await each.end()
    assert (outgoing.used, [each.task.done() for each in found]) == (0, [True] * 5)


async def test_all_users_together_have_a_limit() -> None:
    """A user with nothing on the way is admitted, with a piece of any size."""
    outgoing = Outgoing(limit=3 * SIZE, share=2 * SIZE)
    found = await writers(outgoing, "a", "a", "b", "b")
    assert [each.writing for each in found] == [True, True, True, False]
    (large,) = await writers(outgoing, "c", size=50 * SIZE)
    assert large.writing
    for each in (*found, large):
        each.task.cancel()
    await settle()
    assert outgoing.used == 0


async def test_those_that_give_up_leave_their_place() -> None:
    """Also one whose turn had come, and one that kept a smaller one waiting."""
    outgoing = Outgoing(limit=100 * SIZE, share=3 * SIZE)
    first, large, small = Writer(outgoing, "a"), Writer(outgoing, "a", 3 * SIZE), Writer(outgoing, "a")
    await settle()
    assert (first.writing, large.writing, small.writing) == (True, False, False)
    large.task.cancel()
    await settle()
    assert small.writing
    late = Writer(outgoing, "a", 3 * SIZE)
    await settle()
    for each in (first, small):
        each.task.cancel()
    late.task.cancel()
    await settle()
    assert outgoing.used == 0


async def test_a_line_has_an_end() -> None:
    """What waits is in memory. Small pieces are not counted."""
    outgoing = Outgoing(limit=100 * SIZE, share=SIZE, line=2 * SIZE)
    found = await writers(outgoing, "a", "a", "a")
    with pytest.raises(Congested):
        async with outgoing.room("a", SIZE):
            pass
    async with outgoing.room("a", SMALL):
        assert outgoing.used == SIZE
    for each in found:
        each.task.cancel()
    await settle()


class Large:
    """An application that answers with as many bytes as the path says, to the user that a header names."""

    def __init__(self) -> None:
        self.made = 0

    async def identify(self, request: Request, certificate: bytes) -> Request:
        return replace(request, identity=Identity(request.header("user"), ()))

    def streams(self, request: Request) -> bool:
        return False

    async def respond(self, request: Request) -> Response:
        self.made += 1
        return Response(b"x" * int(request.path[1:]))

    def refuse(self, error: ApiError) -> Response:
        return Response(error.message.encode(), status=error.http)


async def test_clients_that_do_not_read_delay_their_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of twenty responses of 8 MiB four are on the way, four wait, and the others end; another user's comes."""
    size, application = 8 << 20, Large()
    # With its head.
    room = size + 1000
    made = Outgoing(limit=9 * size, share=4 * room, line=4 * room)
    monkeypatch.setattr("tests.support.front.Web", lambda found: Web(found, made))
    async with front(tmp_path, application) as found, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(found.client()) for _ in range(20)]
        for client in clients:
            # Otherwise the kernel takes it all.
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
            await client.begin("GET", f"/{size}", user="greedy")
            await client.end()
        async with asyncio.timeout(30):
            while application.made < len(clients) or caplog.text.count("responses_not_read") < 12:
                await asyncio.sleep(0.01)
            assert 4 * size <= made.used <= 4 * room
            answer: Answer = await found.ask("GET", f"/{size}", user="other")
            assert (answer.status, len(answer.body)) == (200, size)
            for client in clients:
                client.close()
            while made.used:
                await asyncio.sleep(0.01)
