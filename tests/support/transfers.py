"""A connection between two network namespaces that is never idle: one end sends all the time, the other one counts."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.frames import within
from tests.support.labs import eventually

UP, DOWN = "up", "down"
PORT = 5000
# Seconds without a byte after which a connection has ended, many times its pauses.
_SILENCE = 1.5


class Transfer:
    """The client has connected to the server; with UP it sends, with DOWN the server does. `failure` is the sender's."""

    def __init__(self, client: socket.socket, server: socket.socket, direction: str) -> None:
        self.sender, self.receiver = (client, server) if direction == UP else (server, client)
        self.received = 0
        self.failure: OSError | None = None
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        self.sender.settimeout(0.1)
        while not self._stopping.wait(0.01):
            try:
                self.sender.send(b"x" * 1000)
            except TimeoutError:
                continue
            except OSError as error:
                # That of one datagram, where a policy rejects it, says nothing of the next one.
                if self.sender.type == socket.SOCK_STREAM:
                    self.failure = error
                    return

    def _receive(self) -> None:
        self.receiver.settimeout(0.1)
        while not self._stopping.is_set():
            try:
                data = self.receiver.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data and self.receiver.type == socket.SOCK_STREAM:
                return
            self.received += len(data)

    def await_progress(self) -> None:
        before = self.received
        eventually(lambda: self.received > before + 3000, every=0.02)

    def await_end(self) -> None:
        """Nothing has arrived for a while."""

        def silent() -> bool:
            before = self.received
            time.sleep(_SILENCE)
            return self.received == before

        eventually(silent)

    def close(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)
        self.sender.close()
        self.receiver.close()


@contextlib.contextmanager
def transfer(client: Path, server: Path, address: str, *, protocol: str, direction: str) -> Iterator[Transfer]:
    """Between two network namespaces; `address` is the server's."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> socket.socket:
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", PORT))
        sock.settimeout(10)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return sock

    def dial() -> socket.socket:
        sock = socket.socket(family, kind)
        sock.settimeout(10)
        sock.connect((address, PORT))
        return sock

    with within(server, listen) as listener:
        dialled = within(client, dial)
        if kind == socket.SOCK_STREAM:
            accepted, _ = listener.accept()
        else:
            dialled.send(b"hello")
            _, sender = listener.recvfrom(100)
            listener.connect(sender)
            accepted = listener.dup()
    found = Transfer(dialled, accepted, direction)
    try:
        yield found
    finally:
        found.close()
