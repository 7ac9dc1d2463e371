"""An outside for labs with an uplink: a namespace that plays this machine, and one that plays the internet.

    lab - host (203.0.113.2, its own /etc/resolv.conf) - internet (203.0.113.1)

kctl runs in the host. No packet leaves these namespaces, and the machine's own network and nftables are not touched.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cli.lab.netns import entered

T = TypeVar("T")
INTERNET, HOST = "203.0.113.1", "203.0.113.2"


class Outside:
    """`words` run a command in the host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.host, self.internet = folder / "host.net", folder / "internet.net"
        self._mounts = folder / "host.mnt"
        self.resolv_conf = folder / "resolv.conf"
        self.words = ("nsenter", f"--net={self.host}", f"--mount={self._mounts}", "--wd=/")

    def make(self) -> None:
        self._folder.mkdir()
        run("mount", "-t", "tmpfs", "none", str(self._folder))
        run("mount", "--make-private", str(self._folder))
        for path in (self.host, self.internet, self._mounts, self.resolv_conf):
            path.touch()
        self.resolv_conf.chmod(0o644)
        run("unshare", f"--net={self.internet}", "true")
        bind = ("mount", "--bind", str(self.resolv_conf), "/etc/resolv.conf")
        run("unshare", f"--net={self.host}", f"--mount={self._mounts}", "--propagation", "private", *bind)
        self.in_host("ip", "link", "set", "lo", "up")
        self.in_host("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(self.internet))
        self.in_host("ip", "address", "add", f"{HOST}/24", "dev", "up0")
        self.in_host("ip", "link", "set", "up0", "up")
        self.in_host("ip", "route", "add", "default", "via", INTERNET)
        self.in_internet("ip", "link", "set", "lo", "up")
        self.in_internet("ip", "address", "add", f"{INTERNET}/24", "dev", "down0")
        self.in_internet("ip", "link", "set", "down0", "up")

    def in_host(self, *command: str, check: bool = True) -> str:
        return run(*self.words, *command, check=check)

    def in_internet(self, *command: str, check: bool = True) -> str:
        return run("nsenter", f"--net={self.internet}", *command, check=check)

    def sysctl(self, name: str) -> str:
        return self.in_host("cat", f"/proc/sys/net/ipv4/conf/{name}/forwarding").strip()

    def remove(self) -> None:
        for path in (self._mounts, self.host, self.internet, self._folder):
            while os.path.ismount(path):
                run("umount", "--lazy", str(path))


def run(*command: str, check: bool = True) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not check or result.returncode == 0, (command, result.stdout + result.stderr)
    return result.stdout + result.stderr


def within(path: Path, work: Callable[[], T]) -> T:
    """What `work` returns or raises in a network namespace, in a thread of its own."""
    results: list[T] = []
    failures: list[BaseException] = []

    def visit() -> None:
        try:
            with entered(path):
                results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join(60)
    if failures:
        raise failures[0]
    return results[0]


class Pages:
    """An HTTP server that gives everyone the same page, and remembers who asked."""

    def __init__(self, listening: socket.socket, page: str) -> None:
        self._socket = listening
        self._page = page.encode()
        self.peers: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = self._socket.accept()
                self.peers.append(peer[0])
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    connection.recv(4096)
                    head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(self._page)}\r\n\r\n"
                    connection.sendall(head.encode() + self._page)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()


@contextmanager
def pages(path: Path, address: str, port: int, page: str) -> Iterator[Pages]:
    """In a network namespace."""
    found = Pages(within(path, lambda: socket.create_server((address, port))), page)
    try:
        yield found
    finally:
        found.close()


def connects(path: Path, address: str, port: int, *, seconds: float = 2.0) -> bool:
    """Whether a TCP connection from a network namespace is accepted; False too when it is refused or not answered."""

    def attempt() -> bool:
        try:
            socket.create_connection((address, port), seconds).close()
        except OSError:
            return False
        return True

    return within(path, attempt)


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    found = Outside(folder)
    try:
        found.make()
        yield found
    finally:
        found.remove()


def ruleset() -> Any:
    """Of the machine itself, to show that nothing of it changes."""
    return run("nft", "list", "ruleset"), run("ip", "-brief", "link"), run("ip", "route", "show", "table", "all")
