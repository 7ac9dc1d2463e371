"""`kctl net trace`: a packet's way from a pod to a pod, a Service or an address, hop by hop, and where it is dropped.

The pod's node sends a probe and follows it; when it leaves for another node, that one is asked to wait for a second probe.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from cli import podchoice
from cli.net import answers
from cli.net.targets import Target, address_and_port, target_of
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Forbidden, Internal

# Seconds: to be ready for packets of another node, and of a call.
READY, WITHIN = 0.7, 40.0
# Seconds; with READY below the bound of agents, 10 s.
MAX_WAIT = 8.0


def run(client: Any, args: Any) -> int:
    """Exit code 0 when the packet arrives, as far as it is followed."""
    if not 0 < args.wait <= MAX_WAIT:
        raise BadRequest(f"--wait: more than 0s, at most {MAX_WAIT:.0f}s")
    namespace = client.context.namespace
    pod = client.get(kinds.POD, namespace, podchoice.name_of(client, args.pod, tell=True))
    if not pod.status.podIP or pod.spec.hostNetwork:
        raise BadRequest(f"pod {pod.metadata.name} has no address of its own")
    sources = [item.ip for item in pod.status.podIPs]
    target = target_of(client, args.target_namespace or namespace, args.target, args.protocol, sources)
    shown = _at(target)
    end = f"{target.shown} ({shown}, {target.protocol})" if target.shown else f"{shown} ({target.protocol})"
    print(f"{pod.metadata.name} ({_source(pod, target)}, {pod.spec.nodeName}) -> {end}")
    outward = _ask(client, pod.spec.nodeName, pod, target, wait=args.wait, send=True)
    dropped = _show(pod.spec.nodeName, outward)
    end = outward[-1].target if outward else ""
    if not dropped and (underlay := next((hop.underlay for hop in outward if hop.underlay), "")):
        dropped = _beyond(client, pod, end, target, underlay, args)
    print(f"\ndropped: {dropped}" if dropped else f"\n{_arrival(client, outward, end or shown)}")
    return 1 if dropped else 0


def _arrival(client: Any, hops: list[Any], end: str) -> str:
    """Where a packet is that was not dropped. One that leaves the overlay has arrived if it was answered."""
    left = any(hop.kind == "underlay" and not hop.underlay for hop in hops)
    if not left or any(hop.kind == "answer" for hop in hops):
        return f"delivered to {end}"
    try:
        node = _node_at(client, address_and_port(end, 0)[0])
        where = f", an address of node {node}" if node else ", outside of the cluster"
    except Forbidden:
        # A user may trace without listing nodes; only the last line needs them here.
        where = ""
    return f"sent to {end}{where}: its arrival is not followed"


def _at(target: Target) -> str:
    address = f"[{target.address}]" if target.port and ":" in target.address else target.address
    return f"{address}:{target.port}" if target.port else address


def _source(pod: Any, target: Target) -> str:
    """The pod's address of the target's family. Raises BadRequest."""
    found = next((ip.ip for ip in pod.status.podIPs if (":" in ip.ip) == (":" in target.address)), "")
    if not found:
        raise BadRequest(f"pod {pod.metadata.name} has no address of the family of {target.address}")
    return str(found)


def _beyond(client: Any, pod: Any, end: str, target: Target, underlay: str, args: Any) -> str:
    """The other node's part; why the packet is dropped there, or empty."""
    node = _node_at(client, underlay)
    if not node:
        return f"underlay: no node has the address {underlay}"
    address, port = address_and_port(end, target.port)
    there = Target(address, port, target.protocol, "")
    found: list[Any] = []
    failed: list[ApiError] = []

    def listen() -> None:
        try:
            found.extend(_ask(client, node, pod, there, wait=args.wait + READY, send=False, source_port=source_port))
        except ApiError as error:
            failed.append(error)

    source_port = _free_port()
    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    time.sleep(READY)
    _ask(client, pod.spec.nodeName, pod, there, wait=args.wait, send=True, source_port=source_port)
    listening.join(WITHIN)
    if failed:
        raise failed[0]
    return _show(node, found)


def _free_port() -> int:
    """One of the ephemeral ports; another probe has another."""
    return random.randint(40_000, 59_999)


def _ask(
    client: Any, node: str, pod: Any, target: Target, *, wait: float, send: bool, source_port: int = 0
) -> list[Any]:  # fmt: skip
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    options = streams_pb2.TraceNetworkOptions(
        source=_source(pod, target), target=target.address, protocol=target.protocol, port=target.port,
        waitMillis=int(wait * 1000), sourcePort=source_port or _free_port(), podUid=pod.metadata.uid if send else "",
    )  # fmt: skip
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    opening = streams_pb2.OpenStream(node=node, traceNetwork=options)
    hops = []
    for frame in answers.frames(client, stub.TraceNetwork, opening, timeout=WITHIN):
        if frame.WhichOneof("frame") == "hop":
            hops.append(frame.hop)
    if not hops:
        raise Internal(f"node {node} sent no hops")
    return hops


def _show(node: str, hops: list[Any]) -> str:
    """Print a node's hops; why the packet is dropped, or empty."""
    print(f"{node}:")
    reason = ""
    for hop in hops:
        print(f"  {'✗' if hop.dropped else '·'} {hop.kind:<10}{_clean(hop.text)}")
        if hop.dropped and not (reason and hop.kind == "answer"):
            # A policy explains the rule before it; an answer explains nothing.
            reason = f"{node}: {hop.kind} {_clean(hop.text)}"
    return reason


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _node_at(client: Any, address: str) -> str:
    for node in client.list(kinds.NODE, ""):
        if any(item.address == address for item in node.status.addresses):
            return str(node.metadata.name)
    return ""
