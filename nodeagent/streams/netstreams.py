"""Streams about the node's network: compared with the wanted state, repaired, and how packets pass it."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from nodeagent.launcher import bundle as names
from nodeagent.network import tracing
from nodeagent.network.hops import Hop
from nodeagent.network.interface import Comparison, NetworkError, Repairs
from nodeagent.network.nfttrace import Packet
from nodeagent.network.overlay import device_of
from nodeagent.network.policies.evaluator import Traffic, Verdict
from nodeagent.network.policies.model import IN, OUT
from nodeagent.network.tracing import Probe, Way
from nodeagent.node import threads
from nodeagent.pods.manager import PodManager
from nodeagent.streams.frames import Frame, Handler
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest, Internal, TooManyRequests

# Packets that are followed at once, and the most seconds that one is waited for.
MAX_TRACES, MAX_WAIT = 4, 10.0
_PROTOCOLS = ("tcp", "udp", "sctp", "icmp")
# Answers that show that the packet has not arrived; a port that is closed is an answer of the receiver.
_UNREACHABLE = {os.strerror(number) for number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)}
# Of one report: a flushed table is thousands.
MAX_DEVIATIONS = 1_000


class Verdicts(Protocol):
    def verdict(self, uid: str, other: str, *, direction: str, traffic: Traffic) -> Verdict | None:
        """Whether policies allow traffic between a pod of this node and another address."""


class NetStreams:
    def __init__(
        self, network: Repairs, repairs: Mapping[str, int], pods: PodManager, policies: Verdicts, *,
        repair: Callable[[], Awaitable[Comparison]], packets: Callable[[], dict[str, int]], problem: Callable[[], str],
    ) -> None:  # fmt: skip
        """`repair` compares the network and repairs it, which `repairs` counts by kind; `packets` are those of the fast path by
        result; `problem` returns the reason why the node has no network, empty if it has one."""
        self._network, self._repairs, self._pods, self._policies = network, repairs, pods, policies
        self._repair, self._packets, self._problem = repair, packets, problem
        self._tracing = 0

    def handlers(self) -> dict[str, Handler]:
        return {"verifyNetwork": self._verify, "traceNetwork": self._trace}

    async def _trace(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        if self._tracing >= MAX_TRACES:
            raise TooManyRequests(f"this node follows {MAX_TRACES} packets already")
        self._tracing += 1
        try:
            probe, way = await self._followed(opening.traceNetwork)
        except (OSError, NetworkError) as error:
            raise Internal(f"tracing: {error}") from None
        finally:
            self._tracing -= 1
        for hop in way.hops:
            await outgoing.put(_frame(hop, probe.packet.source, way.target))
        for hop in self._judged(opening.traceNetwork, probe, way):
            await outgoing.put(_frame(hop, probe.packet.source, way.target))

    async def _followed(self, wanted: Any) -> tuple[Probe, Way]:
        """Raises ApiError, OSError, NetworkError."""
        probe = _probe(wanted)
        if not wanted.podUid:
            return probe, await threads.traces.run(tracing.inward, probe)
        worker = self._pods.workers.get(wanted.podUid)
        if worker is None or not worker.observed.sandbox or worker.pod.spec.hostNetwork:
            raise BadRequest("the pod has no network of its own on this node")
        if probe.packet.source not in worker.observed.addresses:
            raise BadRequest(f"{probe.packet.source} is not an address of the pod")
        netns = Path(names.namespace(names.sandbox(worker.folder), "net"))
        return probe, await threads.traces.run(tracing.outward, probe, netns, device_of(wanted.podUid))

    def _judged(self, wanted: Any, probe: Probe, way: Way) -> list[Hop]:
        """The policies of the pod at this node's end, and the answer to the probe."""
        answer = [Hop("answer", way.answer, dropped=way.answer in _UNREACHABLE)] if way.answer else []
        if way.hops[-1].local:
            return [Hop("policy", "not restricted: the packet does not leave the node"), *answer]
        # A packet that was dropped before has met no policy.
        return [*(self._verdicts(wanted, probe, way) if way.judged else []), *answer]

    def _verdicts(self, wanted: Any, probe: Probe, way: Way) -> list[Hop]:
        address, port = tracing.endpoint(way.target)
        if address == probe.packet.source:
            return [Hop("policy", "not restricted: a pod reaches itself")]
        traffic = Traffic(probe.packet.protocol, port)
        found = []
        if wanted.podUid:
            found += _policies("egress", self._policies.verdict(wanted.podUid, address, direction=OUT, traffic=traffic))
        for uid, worker in self._pods.workers.items():
            if address and address in worker.observed.addresses:
                source = probe.packet.source
                found += _policies("ingress", self._policies.verdict(uid, source, direction=IN, traffic=traffic))
        return found

    async def _verify(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        wanted = opening.verifyNetwork
        comparison = Comparison()
        if not wanted.countersOnly:
            try:
                comparison = await (self._repair() if wanted.fix else self._network.verify())
            except NetworkError as error:
                raise Internal("; ".join([str(error), *getattr(error, "__notes__", ())])) from None
        report = streams_pb2.NetworkReport(
            repairs=dict(self._repairs), fixed=wanted.fix and not comparison.left, fastPathPackets=self._packets()
        )
        # A reason of several is said once.
        problems = (self._problem(), comparison.clash, *map(str, comparison.errors))
        report.problems.extend(dict.fromkeys(filter(None, problems)))
        for item in comparison.found[:MAX_DEVIATIONS]:
            report.deviations.add(kind=item.kind, item=item.item, wanted=item.wanted, actual=item.actual)
        report.omitted = max(len(comparison.found) - MAX_DEVIATIONS, 0)
        await outgoing.put(Frame(networkReport=report))


def _probe(wanted: Any) -> Probe:
    """Raises BadRequest."""
    for text in (wanted.source, wanted.target):
        try:
            # A zone may be any text, and the source becomes a part of nftables' commands.
            if "%" in text or str(ipaddress.ip_address(text)) != text:
                raise ValueError
        except ValueError:
            raise BadRequest(f"{text[:60]!r} is not an IP address") from None
    if wanted.protocol not in _PROTOCOLS:
        raise BadRequest(f"{wanted.protocol[:20]!r} is not a protocol: {', '.join(_PROTOCOLS)}")
    if not (0 < wanted.sourcePort < 1 << 16 and (wanted.port < 1 << 16 if wanted.port else wanted.protocol == "icmp")):
        raise BadRequest("ports are from 1 to 65535")
    packet = Packet(wanted.source, wanted.protocol, wanted.sourcePort)
    return Probe(packet, wanted.target, wanted.port, min(wanted.waitMillis / 1000, MAX_WAIT))


def _policies(direction: str, verdict: Verdict | None) -> list[Hop]:
    if verdict is None:
        return []
    if not verdict.policies and verdict.allowed:
        return [Hop("policy", f"{direction}: no NetworkPolicy selects the pod")]
    by = ", ".join(verdict.policies)
    return [Hop("policy", f"{direction}: {'allowed' if verdict.allowed else 'denied'} by {by}", dropped=not verdict.allowed)]


def _frame(hop: Hop, source: str, target: str) -> Any:
    found = streams_pb2.NetworkHop(
        kind=hop.kind, text=hop.text, dropped=hop.dropped, source=source, target=target, underlay=hop.underlay
    )  # fmt: skip
    return Frame(hop=found)
