"""What the agent tells the resolver, line by line, without a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nodeagent.dns.control import Control, Settings
from nodeagent.dns.index import Index
from nodeagent.dns.loops import Place
from nodeagent.dns.metrics import Metrics
from nodeagent.dns.records import Service, to_json
from tests.support.awaiting import eventually
from tests.support.dnszones import HTTP

SETTINGS = {
    "domain": "cluster.local", "networks": ["10.96.0.0/12"], "servers": ["10.96.0.10"], "upstream": ["192.0.2.1"],
    "own": ["10.96.0.10"], "stubs": {"corp.example": ["192.0.2.2"]}, "port": 53,
}  # fmt: skip
WEB = {"set": "Service/default/web", "object": to_json(Service("default", "web", ("10.96.0.5",), (HTTP,)))}


class Agent:
    def __init__(self, path: Path) -> None:
        self.path, self.index, self.used = path, Index(), list[Settings]()
        self.control = Control(self.index, Metrics(), "v1", self.used.append)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self.control.connected, str(self.path)):
            yield

    async def say(self, *messages: dict[str, Any] | bytes) -> list[dict[str, str]]:
        """On a connection of its own, which ends; the answers."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        for message in messages:
            writer.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        writer.write_eof()
        found = [json.loads(line) for line in (await reader.read()).splitlines()]
        writer.close()
        return found


async def test_it_answers_once_it_has_everything(tmp_path: Path) -> None:
    """Settings that came before are used then, later ones at once."""
    agent = Agent(tmp_path / "s")
    async with agent.serving():
        await agent.say({"settings": SETTINGS}, WEB)
        assert agent.used == []
        assert await agent.say({"settings": SETTINGS}, WEB, {"complete": True}, {"ask": "version"}) == [{"version": "v1"}]
        assert len(agent.used) == 1
        assert agent.used[0].upstream.of(("a", "corp", "example")) == [Place(("corp", "example"), "192.0.2.2")]
        await agent.say({"settings": SETTINGS | {"domain": "other"}})
        assert [item.domain for item in agent.used] == ["cluster.local", "other"]


async def test_what_the_next_agent_does_not_have_is_removed(tmp_path: Path) -> None:
    """When it has said all, and not before."""
    agent = Agent(tmp_path / "s")
    async with agent.serving():
        await agent.say({"settings": SETTINGS}, WEB, {"set": "Namespace//lab"}, {"complete": True})
        assert agent.index.objects() == {("Service", "default", "web"), ("Namespace", "", "lab")}
        await agent.say({"set": "Namespace//new"})
        assert ("Namespace", "", "lab") in agent.index.objects()
        await agent.say({"set": "Namespace//new"}, {"complete": True})
        assert agent.index.objects() == {("Namespace", "", "new")}
        await agent.say({"delete": "Namespace//new"})
        assert not agent.index.objects()


async def test_what_is_not_understood_ends_the_connection_alone(tmp_path: Path) -> None:
    """The names stay, and the next connection is served."""
    agent = Agent(tmp_path / "s")
    async with agent.serving():
        await agent.say({"settings": SETTINGS}, WEB, {"complete": True})
        for wrong in (
            b"{\n",
            b"[]\n",
            {"set": "Pod/a/b"},
            {"set": "Service/a"},
            {"set": "Service/a/b", "object": {}},
            {"other": 1},
            b"\xff\n",
        ):
            assert await agent.say(wrong, {"ask": "version"}) == []
        assert agent.index.objects() == {("Service", "default", "web")}
        assert await agent.say({"ask": "version"}) == [{"version": "v1"}]


async def test_a_new_agent_takes_the_place_of_the_last(tmp_path: Path) -> None:
    """One that hangs is not waited for."""
    agent = Agent(tmp_path / "s")
    async with agent.serving():
        reader, writer = await asyncio.open_unix_connection(str(agent.path))
        writer.write(b'{"ask": "version"}\n')
        assert json.loads(await reader.readline()) == {"version": "v1"}
        assert await agent.say({"ask": "version"}) == [{"version": "v1"}]
        await eventually(reader.at_eof)
        writer.close()
