"""Real connections between network namespaces, many at once: every endpoint answers with its name on all ports.

Sockets are opened inside the namespaces and stay there, so one process drives all of them: a table of some hundred pairs takes
one timeout. TCP is connected and answered; UDP is sent until it is answered.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.frames import within

TCP, UDP = "tcp", "udp"
# Seconds in which a packet that nothing drops is answered, and of a round: of each of its datagrams.
TIMEOUT, AGAIN = 1.0, 0.2
_KINDS = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}


class Probe(NamedTuple):
    """From an endpoint, by its name, to an address."""

    source: str
    address: str
    port: int
    protocol: str = TCP


@dataclass
class _Dial:
    sock: socket.socket
    probe: Probe


class Prober:
    """`endpoints`: network namespaces by name. Closed by `close`."""

    def __init__(self, endpoints: Mapping[str, Path], ports: Iterable[int], *, families: Iterable[int] = (4,)) -> None:
        self._endpoints = endpoints
        self._selector = selectors.DefaultSelector()
        self._servers: list[socket.socket] = []
        for name, namespace in endpoints.items():
            for family in families:
                for port in ports:
                    self._serve(name, within(namespace, lambda family=family, port=port: [  # type: ignore[misc]
                        _listener(protocol, family, port) for protocol in _KINDS
                    ]))  # fmt: skip

    def _serve(self, name: str, listeners: Iterable[socket.socket]) -> None:
        for sock in listeners:
            stream = sock.type == socket.SOCK_STREAM
            self._servers.append(sock)
            answer = (
                (lambda sock=sock, name=name: _accept(sock, name))
                if stream
                else (lambda sock=sock, name=name: _answer(sock, name))
            )
            self._selector.register(sock, selectors.EVENT_READ, answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for sock in self._servers:
            sock.close()
        self._selector.close()

    def probe(self, probes: Iterable[Probe], *, timeout: float = TIMEOUT) -> dict[Probe, str]:
        """The name of the endpoint that answered; "" for none within `timeout`, or longer where this process has to wait for a
        processor: it plays both ends."""
        found = dict.fromkeys(probes, "")
        by_source: dict[str, list[Probe]] = {}
        for probe in found:
            by_source.setdefault(probe.source, []).append(probe)
        dials = [
            dial
            for source, mine in by_source.items()
            for dial in within(self._endpoints[source], lambda mine=mine: [_dial(probe) for probe in mine])  # type: ignore[misc]
        ]
        try:
            self._converse(dials, found, max(1, round(timeout / AGAIN)))
        finally:
            for dial in dials:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(dial.sock)
                dial.sock.close()
        return found

    def _converse(self, dials: list[_Dial], found: dict[Probe, str], rounds: int) -> None:
        waiting = {dial.probe: dial for dial in dials}
        for dial in dials:
            self._selector.register(dial.sock, selectors.EVENT_READ, dial)
        for _ in range(rounds):
            for dial in waiting.values():
                if dial.probe.protocol == UDP:
                    with contextlib.suppress(OSError):
                        dial.sock.send(b"?")
            ends = time.monotonic() + AGAIN
            # Once more after its end, for what has come while another process ran.
            while waiting and self._hear_all(max(0.0, ends - time.monotonic()), found, waiting):
                pass

    def _hear_all(self, timeout: float, found: dict[Probe, str], waiting: dict[Probe, _Dial]) -> bool:
        """What is there within `timeout`; False when that was nothing."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            if isinstance(key.data, _Dial):
                self._hear(key.data, found, waiting)
            else:
                key.data()
        return bool(ready)

    def _hear(self, dial: _Dial, found: dict[Probe, str], waiting: dict[Probe, _Dial]) -> None:
        """An answer ends the probe, an error of TCP too: it was refused."""
        try:
            found[dial.probe] = dial.sock.recv(100).decode()
        except BlockingIOError:
            return
        except OSError:
            if dial.probe.protocol == UDP:
                return
        waiting.pop(dial.probe, None)
        self._selector.unregister(dial.sock)


def _listener(protocol: str, family: int, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, _KINDS[protocol])
    if family == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if protocol == TCP:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::" if family == 6 else "0.0.0.0", port))
    if protocol == TCP:
        sock.listen(512)
    sock.setblocking(False)
    return sock


def _dial(probe: Probe) -> _Dial:
    sock = socket.socket(socket.AF_INET6 if ":" in probe.address else socket.AF_INET, _KINDS[probe.protocol])
    sock.setblocking(False)
    code = sock.connect_ex((probe.address, probe.port))
    assert code in (0, errno.EINPROGRESS), (probe, errno.errorcode[code])
    return _Dial(sock, probe)


def _accept(sock: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        connection, _ = sock.accept()
        with connection:
            connection.sendall(name.encode())


def _answer(sock: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        _, sender = sock.recvfrom(100)
        sock.sendto(name.encode(), sender)
