"""The agent's connection: what it says of the cluster is indexed, and what it asks about the resolver is answered.

Lines of JSON on a Unix socket, one object each:

    {"set": KEY, "object": {...}}    a Service or an EndpointSlice (`records`), or a Namespace without an object; KEY is
    {"delete": KEY}                  KIND/NAMESPACE/NAME
    {"complete": true}               what has not been set on this connection is no longer there
    {"settings": {...}}              see `Settings`
    {"ask": "version" | "metrics"}   answered by {"version": TEXT} or {"metrics": TEXT}, after all that came before

An agent that starts again begins with everything; until it says that this is complete, the names of the last one are
answered. A resolver that has never had everything answers nothing: a name that it does not know yet would be taken for one
that does not exist.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nodeagent.dns import records
from nodeagent.dns.forwarding import Servers
from nodeagent.dns.index import Index
from nodeagent.dns.metrics import Metrics
from nodeagent.dns.records import Service

log = logging.getLogger("pinnace.dns")
# Bytes: an EndpointSlice has at most 1000 endpoints and 100 ports.
MAX_LINE = 4 << 20
# Objects between which queries are answered.
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """`networks` are those whose reverse names are the cluster's, `servers` the cluster DNS addresses."""

    domain: str
    networks: tuple[str, ...]
    servers: tuple[str, ...]
    upstream: Servers

    @staticmethod
    def from_json(data: dict[str, Any]) -> Settings:
        stubs = {tuple(domain.split(".")): tuple(servers) for domain, servers in data["stubs"].items()}
        upstream = Servers(tuple(data["upstream"]), stubs, frozenset(data["own"]), int(data["port"]))
        return Settings(data["domain"], tuple(data["networks"]), tuple(data["servers"]), upstream)


class Control:
    """Serves one agent at a time: a new connection takes the place of the last one."""

    def __init__(self, index: Index, metrics: Metrics, version: str, use: Callable[[Settings], None]) -> None:
        self._index, self._metrics, self._version, self._use = index, metrics, version, use
        self._current: asyncio.StreamWriter | None = None
        self._complete = False
        self._settings: Settings | None = None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._current is not None:
            self._current.close()
        self._current = writer
        present: set[tuple[str, str, str]] = set()
        try:
            count = 0
            while (line := await reader.readline()) and self._current is writer:
                answer = self._do(json.loads(line), present)
                if answer is not None:
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
                if (count := count + 1) % _BATCH == 0:
                    await asyncio.sleep(0)
        except (OSError, ValueError, KeyError, TypeError) as error:
            # The agent connects again and begins anew.
            log.error("agent_not_understood error=%r", error)
        finally:
            writer.close()

    def _do(self, message: dict[str, Any], present: set[tuple[str, str, str]]) -> dict[str, str] | None:
        """`present` has the keys of this connection. Raises ValueError, KeyError, TypeError."""
        if "set" in message:
            self._set(*_key(message["set"]), message.get("object", {}))
            present.add(_key(message["set"]))
        elif "delete" in message:
            self._delete(*_key(message["delete"]))
            present.discard(_key(message["delete"]))
        elif "complete" in message:
            for key in self._index.objects() - present:
                self._delete(*key)
            self._begin()
        elif "settings" in message:
            self._settings = Settings.from_json(message["settings"])
            if self._complete:
                self._use(self._settings)
        else:
            return {"version": self._version} if message["ask"] == "version" else {"metrics": self._text()}
        return None

    def _begin(self) -> None:
        if not self._complete and self._settings is not None:
            self._complete = True
            self._use(self._settings)

    def _set(self, kind: str, namespace: str, name: str, data: dict[str, Any]) -> None:
        if kind == records.NAMESPACE:
            self._index.set_namespace(name)
            return
        item = records.from_json(kind, namespace, name, data)
        if isinstance(item, Service):
            self._index.set_service(item)
        else:
            self._index.set_slice(item)

    def _delete(self, kind: str, namespace: str, name: str) -> None:
        if kind == records.NAMESPACE:
            self._index.delete_namespace(name)
        elif kind == records.SERVICE:
            self._index.delete_service(namespace, name)
        else:
            self._index.delete_slice(namespace, name)

    def _text(self) -> str:
        kinds = [kind for kind, _, _ in self._index.objects()]
        self._metrics.services, self._metrics.slices = kinds.count(records.SERVICE), kinds.count(records.SLICE)
        return self._metrics.text()


def _key(text: str) -> tuple[str, str, str]:
    """Raises ValueError."""
    kind, namespace, name = text.split("/")
    if kind not in (records.SERVICE, records.SLICE, records.NAMESPACE):
        raise ValueError(f"unknown kind {kind}")
    return kind, namespace, name
