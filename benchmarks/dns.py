"""A node's resolver, asked over UDP by as many clients as keep it busy: queries per second and the 99th percentile of latency, of a
name of the cluster and of an external one that is in its cache, with 5,000 Services.

The clients and the resolver each have one core; its process is the real one, told as an agent tells it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pinnace.clock import SystemClock

# This file would hide dnspython.
sys.path.pop(0)
SERVER, UPSTREAM = "127.0.0.151", "127.0.0.152"
SERVICES = 5000
# Queries that are under way, and of each measurement; those that are asked one at a time, for the latency of an idle resolver.
WINDOW, COUNT, SINGLE = 16, 20_000, 2_000
PORT = 5301


def question(name: str, number: int) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def flood(name: str) -> tuple[float, list[float]]:
    """Queries per second, and the seconds that each took, with WINDOW under way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((SERVER, PORT))
        queries = [question(name, number) for number in range(65536)]
        sent, took = [0.0] * 65536, list[float]()
        began, next_ = time.perf_counter(), 0
        while len(took) < COUNT:
            while next_ < COUNT and next_ - len(took) < WINDOW:
                sent[next_ & 0xFFFF] = time.perf_counter()
                sock.send(queries[next_ & 0xFFFF])
                next_ += 1
            answer = sock.recv(4096)
            if answer[3] & 15 or not answer[7]:
                raise SystemExit(f"{name}: not answered")
            took.append(time.perf_counter() - sent[int.from_bytes(answer[:2], "big")])
        return COUNT / (time.perf_counter() - began), took


def one_by_one(name: str) -> list[float]:
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((SERVER, PORT))
        for number in range(SINGLE):
            began = time.perf_counter()
            sock.send(question(name, number))
            sock.recv(4096)
            took.append(time.perf_counter() - began)
    return took


def percentile(seconds: list[float], percent: int) -> float:
    return round(statistics.quantiles(seconds, n=100)[percent - 1] * 1e6)


def serve_upstream(sock: socket.socket) -> None:
    """One address for every name, for an hour."""
    while True:
        query, peer = sock.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        record = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4" + socket.inet_aton("192.0.2.1")
        sock.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] + record, peer)


async def start(directory: Path) -> tuple[int, Any]:
    """The resolver with its Services; its pid, and the connection of its agent."""
    from nodeagent.dns.records import Endpoint, Port, Service, Slice, to_json
    from nodeagent.network.resolverprocess import ResolverProcess

    process = ResolverProcess(directory, SystemClock(), seccomp=lambda: "", port=PORT)
    reader, writer = await process.connected([SERVER])
    settings = {
        "domain": "cluster.local", "networks": ["10.96.0.0/12"], "servers": [SERVER], "upstream": [UPSTREAM], "own": [SERVER],
        "stubs": {}, "port": PORT,
    }  # fmt: skip
    lines: list[dict[str, Any]] = [{"settings": settings}]
    ports = (Port("http", "tcp", 80),)
    for number in range(SERVICES):
        address = f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        lines.append(
            {"set": f"Service/default/s{number}", "object": to_json(Service("default", f"s{number}", (address,), ports))}
        )
        ends = Slice("default", f"s{number}-1", f"s{number}", (Endpoint(f"10.244.{number >> 8}.{number & 255}"),), ports)
        lines.append({"set": f"EndpointSlice/default/s{number}-1", "object": to_json(ends)})
    for line in [*lines, {"complete": True}, {"ask": "version"}]:
        writer.write(json.dumps(line).encode() + b"\n")
        await writer.drain()
    await reader.readline()
    assert process.process is not None
    return process.process.pid, writer


async def changed(writer: Any) -> float:
    """Seconds from the change of an address to the first answer that has it."""
    from nodeagent.dns.records import Port, Service, to_json

    item = to_json(Service("default", "s0", ("10.96.77.77",), (Port("http", "tcp", 80),)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((SERVER, PORT))
        began = time.perf_counter()
        writer.write(json.dumps({"set": "Service/default/s0", "object": item}).encode() + b"\n")
        await writer.drain()
        while True:
            sock.send(question("s0.default.svc.cluster.local", 1))
            if sock.recv(4096).endswith(socket.inet_aton("10.96.77.77")):
                return time.perf_counter() - began


async def main() -> None:
    from cli.lab import processes

    upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    upstream.bind((UPSTREAM, PORT))
    threading.Thread(target=serve_upstream, args=(upstream,), daemon=True).start()
    directory = Path(tempfile.mkdtemp(prefix="bench-dns-"))
    try:
        pid, writer = await start(directory)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, cores[:1])
        os.sched_setaffinity(0, cores[1:2] or cores[:1])
        result: dict[str, Any] = {"services": SERVICES}
        for key, name in (("cluster", "s42.default.svc.cluster.local"), ("cached", "www.example.com")):
            one_by_one(name)
            rate, took = flood(name)
            alone = one_by_one(name)
            result |= {
                f"{key}_queries_per_s": round(rate), f"{key}_p99_us": percentile(took, 99),
                f"{key}_alone_p50_us": percentile(alone, 50), f"{key}_alone_p99_us": percentile(alone, 99),
            }  # fmt: skip
        result["queries_per_s"] = min(result["cluster_queries_per_s"], result["cached_queries_per_s"])
        result["change_ms"] = round(await changed(writer) * 1000, 2)
        result["memory_mb"] = round(processes.memory(pid) / 1_000_000, 1)
        print(json.dumps(result))
        writer.close()
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
