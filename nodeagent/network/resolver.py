"""The agent's side of the resolver: its process, started again whenever it ends, and everything that it is told.

    assignment, welcome, resolv.conf ──► settings and lines ──(Unix socket)──► nodeagent/dns

The process outlives the agent. An agent that starts connects to it, and replaces one of another version or for other
addresses. What has not been sent is a set of keys: of an object that changes twice, only the last form is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nodeagent.network import dnsrecords
from nodeagent.network.interface import Network, NetworkError
from nodeagent.network.resolverprocess import ResolverProcess
from nodeagent.pods.spec import resolver
from nodeagent.pods.spec.resolver import DEFAULT_DOMAIN, ClusterDns, DnsFlags
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock

log = logging.getLogger("pinnace.dns")
# Seconds between looks at the node's resolv.conf and at the addresses, and before another attempt.
LOOK, RETRY, MAX_RETRY = 2.0, 0.1, 10.0
# Seconds for the resolver to take what it is sent, and to answer.
TAKEN_WITHIN = 10.0
_PORT = 53
# Objects between which what is sent is taken, and answers that wait.
_BATCH, _MAX_ANSWERS = 100, 4


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the control plane says about names; `servers` is empty for a cluster without DNS."""

    servers: tuple[str, ...] = ()
    domain: str = ""
    networks: tuple[str, ...] = ()

    @staticmethod
    def of(welcome: nodes_pb2.Welcome) -> Cluster:
        networks = (*welcome.serviceCIDRs, *welcome.clusterCIDRs)
        return Cluster(tuple(welcome.clusterDNS), welcome.clusterDomain, networks)


class _Answers:
    """The resolver's on one connection, in the order of the questions; `owed` are still to be read."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(_MAX_ANSWERS)
        self.owed = 0

    async def last(self) -> bytes:
        """To the latest question. Those to earlier ones, which were no longer waited for, are dropped."""
        while True:
            answer = await self.queue.get()
            self.owed -= 1
            if not self.owed:
                return answer


class ResolverManager:
    """`lookup` and `keys` are the assignment's."""

    def __init__(
        self, process: ResolverProcess, network: Network, clock: Clock, *, flags: DnsFlags,
        lookup: Callable[[str, str, str], Any | None], keys: Callable[[], Iterable[str]],
    ) -> None:  # fmt: skip
        self._process, self._network, self._clock, self._flags = process, network, clock, flags
        self._lookup, self._keys = lookup, keys
        self._cluster = Cluster()
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._answers = _Answers()
        self._ended = False
        self._asking = asyncio.Lock()
        # Whether the assignment has all names, and whether the resolver knows.
        self._complete = self._is_told = False
        # Set once the resolver has answered with all names, and in a cluster without DNS.
        self.serving = asyncio.Event()

    def cluster_dns(self) -> ClusterDns:
        """The DNS settings of pods."""
        return self._flags.with_cluster(self._cluster.servers, self._cluster.domain)

    def told(self, welcome: nodes_pb2.Welcome) -> None:
        self._cluster = Cluster.of(welcome)
        if not self._cluster.servers:
            self.serving.set()
        self._wake.set()

    def changed(self, changes: Iterable[Any]) -> None:
        """Objects of the assignment have."""
        self._dirty.update(dict.fromkeys(change.key for change in changes))
        self._wake.set()

    def all_known(self) -> None:
        """The assignment has all Services and namespaces: a name that is not among them does not exist."""
        if not self._complete:
            self._complete = True
            self._wake.set()

    async def metrics(self) -> str:
        """The resolver's, as text for Prometheus; empty while it does not run."""
        async with self._asking:
            try:
                self._write({"ask": "metrics"})
                self._answers.owed += 1
                async with asyncio.timeout(TAKEN_WITHIN):
                    answer: dict[str, str] = json.loads(await self._answers.last())
                return answer["metrics"]
            except (OSError, TimeoutError, ValueError):
                return ""

    async def run(self) -> None:
        """Until cancelled."""
        delay = RETRY
        while True:
            if not self._cluster.servers:
                await self._clock.wait(self._wake, None)
                self._wake.clear()
                continue
            try:
                await self._serve(self._cluster)
                delay = RETRY
            except (OSError, TimeoutError, ValueError, NetworkError) as error:
                log.error("resolver_failed retry=%.1f error=%s", delay, str(error) or repr(error))
                await self._clock.sleep(delay)
                delay = min(delay * 2, MAX_RETRY)
            finally:
                self._close()

    async def _serve(self, cluster: Cluster) -> None:
        """Keep a resolver for these addresses until it ends, or there are others. Raises OSError, TimeoutError, ValueError,
        NetworkError."""
        await self._network.serve_names(cluster.servers)
        reader, self._writer = await self._process.connected(cluster.servers)
        self._answers, self._ended = _Answers(), False
        listener = asyncio.ensure_future(self._listen(reader))
        try:
            told = self._settings()
            self._write({"settings": told})
            await self._send_all()
            await self._send_changes()
            while self._cluster == cluster:
                if not await self._clock.wait(self._wake, LOOK):
                    await self._network.serve_names(cluster.servers)
                self._wake.clear()
                if (now := self._settings()) != told:
                    told = now
                    self._write({"settings": told})
                await self._send_changes()
        finally:
            listener.cancel()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Until it ends; an answer that is not waited for is dropped with the connection."""
        answers = self._answers.queue
        with contextlib.suppress(OSError, ValueError, asyncio.QueueFull):
            while line := await reader.readline():
                answers.put_nowait(line)
        self._ended = True
        self._wake.set()

    async def _send_all(self) -> None:
        self._is_told = False
        self._dirty.clear()
        for count, key in enumerate([key for key in self._keys() if key.partition("/")[0] in dnsrecords.KINDS]):
            self._write(self._line(key))
            if count % _BATCH == _BATCH - 1:
                await self._drain()

    async def _send_changes(self) -> None:
        """With them, that they are all, once they are: an agent that joins gets the first ones before the others."""
        complete = self._complete
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            self._write(self._line(key))
        if complete and not self._is_told:
            self._is_told = True
            self._write({"complete": True})
        await self._drain()
        if self._is_told and not self.serving.is_set() and await self.metrics():
            # It answers the agent after all that it was sent before.
            self.serving.set()

    def _line(self, key: str) -> dict[str, Any]:
        kind, namespace, name = key.split("/", 2)
        return dnsrecords.line_of(key, self._lookup(kind, namespace, name))

    def _settings(self) -> dict[str, Any]:
        cluster, dns = self._cluster, self.cluster_dns()
        return {
            "domain": dns.domain or DEFAULT_DOMAIN, "networks": cluster.networks, "servers": cluster.servers,
            "upstream": _upstream(dns), "own": cluster.servers, "stubs": dict(self._flags.stubs), "port": _PORT,
        }  # fmt: skip

    def _write(self, message: dict[str, Any]) -> None:
        """Raises ConnectionResetError."""
        if self._writer is None or self._ended:
            raise ConnectionResetError("the resolver has ended")
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def _drain(self) -> None:
        if self._writer is None or self._ended:
            raise ConnectionResetError("the resolver has ended")
        async with asyncio.timeout(TAKEN_WITHIN):
            await self._writer.drain()

    def _close(self) -> None:
        """Let go of the resolver, which continues. What it has not read is dropped: it may never read again."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


def _upstream(dns: ClusterDns) -> list[str]:
    """The node's name servers; none in its file means one of its own, as for glibc."""
    try:
        text = dns.resolv_conf.read_text(errors="replace")
    except OSError:
        text = ""
    found = []
    for server in resolver.parse(text).servers:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(server.partition("%")[0])
            found.append(server)
    return found[: resolver.MAX_NAMESERVERS] or ["127.0.0.1"]
