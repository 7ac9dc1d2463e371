"""Pods by hand: a router with the rules of NetworkPolicies, and network namespaces behind it, each with its own addresses."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from nodeagent.network import nftread
from nodeagent.network.elements import FAMILY, TABLE, Difference, Element, Fragment, commands, create
from nodeagent.network.nftables import Nftables
from nodeagent.network.policies import skeleton
from tests.support.deathsignal import end_with_parent
from tests.support.frames import within
from tests.support.labs import eventually

T = TypeVar("T")
_OWN = os.readlink("/proc/self/ns/net")


class Router:
    """`pods`: addresses by name. Packets between pods are forwarded, and nothing else."""

    def __init__(self, pods: Mapping[str, Sequence[str]], more: Sequence[Fragment] = ()) -> None:
        self._held: list[subprocess.Popen[bytes]] = []
        self.namespace = self._namespace()
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            within(self.namespace, lambda setting=setting: Path("/proc/sys/net", setting).write_text("1"))  # type: ignore[misc]
        self.pods = {name: self._pod(number, addresses) for number, (name, addresses) in enumerate(pods.items())}
        self.nft(create([skeleton.fragment(), *more]))

    def _namespace(self) -> Path:
        held = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=end_with_parent)
        self._held.append(held)
        eventually(lambda: os.readlink(f"/proc/{held.pid}/ns/net") != _OWN, within=10, every=0.01)
        return Path(f"/proc/{held.pid}/ns/net")

    def _pod(self, number: int, addresses: Sequence[str]) -> Path:
        found = self._namespace()
        pid = str(self._held[-1].pid)
        run(self.namespace, "ip", "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", pid)
        for name, space in ((f"p{number}", self.namespace), ("eth0", found)):
            run(space, "ip", "link", "set", name, "up")
            # No detection of duplicates: an address is used at once.
            run(space, "ip", "address", "add", "fe80::1/64" if space is self.namespace else "fe80::2/64", "dev", name, "nodad")
        run(found, "ip", "link", "set", "lo", "up")
        run(self.namespace, "ip", "address", "add", "169.254.1.1/32", "dev", f"p{number}")
        for address in addresses:
            six = ":" in address
            family, length, way = ("-6", "128", "fe80::1") if six else ("-4", "32", "169.254.1.1")
            run(found, "ip", family, "address", "add", f"{address}/{length}", "dev", "eth0", *(["nodad"] if six else []))
            run(found, "ip", family, "route", "add", "default", "via", way, "dev", "eth0", *([] if six else ["onlink"]))
            run(
                self.namespace,
                "ip",
                family,
                "route",
                "add",
                f"{address}/{length}",
                "dev",
                f"p{number}",
                *(["via", "fe80::2"] if six else []),
            )
        return found

    def nft(self, text: str) -> None:
        self._with_nft(lambda nft: nft.run_text(text))

    def listed(self) -> set[Element]:
        """As a node's agent reads them."""
        table = f"{FAMILY} {TABLE}"
        read = self._with_nft(lambda nft: nftread.filled(nft, table, nftread.containers(table)))
        return {item for found in read.values() for item in found}

    def _with_nft(self, work: Callable[[Nftables], T]) -> T:
        def run() -> T:
            nft = Nftables()
            try:
                return work(nft)
            finally:
                nft.close()

        return within(self.namespace, run)

    def apply(self, change: Difference) -> None:
        self.nft(commands(change))

    def close(self) -> None:
        for held in self._held:
            held.kill()
            held.wait()


def run(namespace: Path, *command: str) -> str:
    done = subprocess.run(["nsenter", f"--net={namespace}", *command], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


@contextlib.contextmanager
def routing(pods: Mapping[str, Sequence[str]]) -> Iterator[Router]:
    router = Router(pods)
    try:
        yield router
    finally:
        router.close()
