"""A TCP connection that never rests, between two network namespaces: whether it continues, and its longest pause."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

from tests.support import frames
from tests.support.labs import PATIENCE, eventually

# Seconds without an answer after which a connection has failed, whatever comes later.
STALL = 60.0 * PATIENCE
PORT = 7000


class Conversation:
    """A word there, and back. `target`: where the client connects to, if that is not the server itself but a Service."""

    def __init__(
        self, client: Path, server: Path, address: str, *, target: tuple[str, int] | None = None, port: int = PORT
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = frames.within(server, lambda: socket.create_server((address, port), family=family))
        self._client = frames.within(client, lambda: socket.create_connection(target or (address, port), 10))
        self._served, _ = self._listener.accept()
        self._client.settimeout(STALL)
        # `failure` is of the client, `server_failure` of the server: of a connection that stalls, it may be the cause.
        self.answers, self.longest, self.failure, self.server_failure = 0, 0.0, "", ""
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve, self._ask)]
        for thread in self._threads:
            thread.start()

    def _serve(self) -> None:
        try:
            while data := self._served.recv(64):
                self._served.sendall(data)
        except OSError as error:
            self.server_failure = repr(error)

    def _ask(self) -> None:
        last = time.monotonic()
        try:
            while not self._ending.is_set():
                self._client.sendall(b"x" * 64)
                left = 64
                while left:
                    data = self._client.recv(left)
                    if not data:
                        raise ConnectionResetError("closed by the other end")
                    left -= len(data)
                now = time.monotonic()
                self.answers, self.longest, last = self.answers + 1, max(self.longest, now - last), now
                time.sleep(0.01)
        except OSError as error:
            self.failure = repr(error)

    def goes_on(self, within: float = 60.0) -> bool:
        """More answers come on the connection that was there from the beginning, within so many seconds."""
        before = self.answers
        eventually(lambda: self.failure or self.answers > before + 3, within=within)
        assert not self.failure
        return True

    def __str__(self) -> str:
        """A text for users, when it has stalled."""
        threads = ", ".join(f"{thread.name} {'runs' if thread.is_alive() else 'has ended'}" for thread in self._threads)
        found = f"{self.answers} answers, client {self.failure or 'well'}, server {self.server_failure or 'well'}, {threads}"
        for name, sock in (("client", self._client), ("server", self._served)):
            try:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
                # linux/tcp.h, struct tcp_info: state, retransmissions without an answer, probes, backoff; microseconds of RTO.
                rto = int.from_bytes(info[8:12], "little")
                found += f"\n{name}: {sock.getsockname()} state {info[0]} retransmits {info[2]} backoff {info[4]} rto {rto} us"
            except OSError as error:
                found += f"\n{name}: {error}"
        return found

    def take_longest(self) -> float:
        """Seconds of the longest pause so far, which is counted from 0 again."""
        longest, self.longest = self.longest, 0.0
        return round(longest, 3)

    def close(self) -> None:
        self._ending.set()
        # First: a thread that waits in a socket ends before the socket's number is another's.
        for sock in (self._client, self._served):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in (self._client, self._served, self._listener):
            sock.close()
