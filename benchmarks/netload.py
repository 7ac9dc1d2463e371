"""TCP load between two network namespaces, over plain sockets: bytes a second, and the latency of requests.

`iperf3` would do the same; one more package and its JSON are saved. Each end is a process of its own, which the caller starts in the
namespace (`nsenter`): `netload.py serve`, which prints its port, and `netload.py send|ask ADDRESS PORT ...`, which prints its result.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Bytes of one call, of a request and of its answer.
CHUNK, REQUEST = 1 << 18, 64
# Seconds: of a call that does nothing, and of a whole process.
IDLE, PATIENCE = 20.0, 120.0
# First byte of a connection: what it is for.
SEND, ASK = b"s", b"a"


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves, with its address as clients see it."""

    address: str
    port: int


@contextlib.contextmanager
def server(namespace: Path, address: str) -> Iterator[Server]:
    command = [*_inside(namespace), "serve", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(address, int(process.stdout.readline()))
        finally:
            process.kill()


def throughput(namespace: Path, to: Server, *, streams: int, seconds: float) -> float:
    """Gigabits a second that arrive, of all streams together."""
    return _client(namespace, "send", to, str(streams), str(seconds))[0]


def latencies(namespace: Path, to: Server, *, requests: int) -> list[float]:
    """Microseconds of each request on one connection."""
    return _client(namespace, "ask", to, str(requests))


def _inside(namespace: Path) -> list[str]:
    return ["nsenter", f"--net={namespace}", sys.executable, "-I", __file__]


def _client(namespace: Path, what: str, to: Server, *arguments: str) -> list[float]:
    command = [*_inside(namespace), what, to.address, str(to.port), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    found: list[float] = json.loads(done.stdout)
    return found


def _serve(address: str) -> None:
    """Until standard input ends."""
    with socket.create_server((address, 0), backlog=64) as listener, selectors.DefaultSelector() as selector:
        print(listener.getsockname()[1], flush=True)
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is not sys.stdin for key, _ in selector.select()):
            threading.Thread(target=_answer, args=(listener.accept()[0],), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(IDLE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection.recv(1) == ASK:
            while found := connection.recv(REQUEST):
                connection.sendall(found)
            return
        buffer, total = bytearray(CHUNK), 0
        begun = time.perf_counter()
        while count := connection.recv_into(buffer):
            total += count
        connection.sendall(json.dumps([total, time.perf_counter() - begun]).encode())


def _send(address: str, port: int, streams: int, seconds: float) -> float:
    rates = [0.0] * streams
    barrier = threading.Barrier(streams)

    def stream(number: int) -> None:
        with socket.create_connection((address, port), IDLE) as connection:
            connection.sendall(SEND)
            barrier.wait(IDLE)
            data, end = bytes(CHUNK), time.perf_counter() + seconds
            while time.perf_counter() < end:
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            total, took = json.loads(connection.recv(256))
            rates[number] = total * 8 / took / 1e9

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def _ask(address: str, port: int, requests: int) -> list[float]:
    took, message = [], bytes(REQUEST)
    with socket.create_connection((address, port), IDLE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(ASK)
        for _ in range(requests):
            begun = time.perf_counter()
            connection.sendall(message)
            left = REQUEST
            while left:
                left -= len(connection.recv(left))
            took.append((time.perf_counter() - begun) * 1e6)
    return took


def main(what: str, address: str, *arguments: str) -> None:
    if what == "serve":
        _serve(address)
    elif what == "send":
        port, streams, seconds = arguments
        print(json.dumps([_send(address, int(port), int(streams), float(seconds))]))
    else:
        port, requests = arguments
        print(json.dumps(_ask(address, int(port), int(requests))))


if __name__ == "__main__":
    main(*sys.argv[1:])
