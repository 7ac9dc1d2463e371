"""Hosts of a test: network namespaces on one switch, which can be cut off from each other.

Each is held by a process that ends with the thread that made it, as does all that runs there: a run of tests that is cut off
leaves nothing. Nothing is made in the machine's own network namespace.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.support.deathsignal import end_with_parent
from tests.support.labs import eventually
from tests.support.outside import run

_OWN = os.readlink("/proc/self/ns/net")


def _namespace() -> subprocess.Popen[bytes]:
    """A process in a network namespace of its own."""
    held = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=end_with_parent)
    eventually(lambda: os.readlink(f"/proc/{held.pid}/ns/net") != _OWN, within=10, every=0.01)
    return held


class Host:
    """`address` is its own on the switch; `words` run a command in it."""

    def __init__(self, switch: int, number: int) -> None:
        self._held = _namespace()
        self._switch, self._port = switch, f"port{number}"
        self.address = f"10.77.0.{number}"
        self.namespace = Path(f"/proc/{self._held.pid}/ns/net")
        self.words = ("nsenter", f"--net={self.namespace}")
        peer = ("type", "veth", "peer", "name", self._port, "netns", str(switch))
        self.run("ip", "link", "add", "eth0", *peer)
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            self.run("ip", "link", "set", link, "up")
        self._set("master", "bridge0")
        self._set("up")

    def run(self, *command: str) -> str:
        return run(*self.words, *command)

    def start(self, command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """A process in it, which ends with the calling thread."""
        return subprocess.Popen([*self.words, *command], stdout=log, stderr=log, cwd="/", preexec_fn=end_with_parent)

    def unplug(self) -> None:
        """Take its cable away: the link is down."""
        self._set("down")

    def plug(self) -> None:
        self._set("up")

    def drop(self) -> None:
        """Drop its packets in both directions; the link stays up, and no end of a connection is told."""
        self.run("nft", "add table inet cut")
        for hook, name in (("input", "iifname"), ("output", "oifname")):
            self.run("nft", f"add chain inet cut {hook} {{ type filter hook {hook} priority 0 ; }}")
            self.run("nft", f"add rule inet cut {hook} {name} eth0 drop")

    def pass_(self) -> None:
        self.run("nft", "delete table inet cut")

    def _set(self, *state: str) -> None:
        run("nsenter", f"--net=/proc/{self._switch}/ns/net", "ip", "link", "set", self._port, *state)

    def remove(self) -> None:
        self._held.kill()
        self._held.wait()


class Underlay:
    """A switch and its hosts."""

    def __init__(self) -> None:
        self._switch = _namespace()
        words = ("nsenter", f"--net=/proc/{self._switch.pid}/ns/net", "ip", "link")
        run(*words, "add", "bridge0", "type", "bridge")
        run(*words, "set", "bridge0", "up")
        self.hosts: list[Host] = []

    def host(self) -> Host:
        self.hosts.append(Host(self._switch.pid, len(self.hosts) + 1))
        return self.hosts[-1]

    def remove(self) -> None:
        for host in self.hosts:
            host.remove()
        self._switch.kill()
        self._switch.wait()
