"""A host of a test's own on a lab's switch: on the underlay of the nodes, and no node."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from cli.lab import hosts, layout
from cli.lab.layout import SWITCH
from cli.lab.netns import entered
from tests.support.deathsignal import end_with_parent
from tests.support.labs import LabUnderTest, eventually
from tests.support.outside import run

_OWN = os.readlink("/proc/self/ns/net")
# Its port on the switch.
PORT = "neighbour"


class Neighbour:
    """`namespace` is that of its network."""

    def __init__(self, namespace: Path) -> None:
        self.namespace = namespace

    def get(self, url: str, *, within: float = 3.0) -> str | None:
        """What a GET answers, on a connection of its own; None for no answer."""
        with entered(self.namespace):
            return get(url, within=within)

    def mac_of(self, address: str) -> str:
        """The MAC address that it sends to for an address; empty while it knows none."""
        words = run("nsenter", f"--net={self.namespace}", "ip", "neighbour", "show", address).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def get(url: str, *, within: float) -> str | None:
    """What a GET answers, in the calling thread's network; None for no answer."""
    with contextlib.suppress(URLError, OSError), build_opener(ProxyHandler({})).open(url, timeout=within) as answer:
        return str(answer.read().decode())
    return None


@contextmanager
def neighbour(lab: LabUnderTest, address: str) -> Iterator[Neighbour]:
    """A host with this address of the underlay."""
    found = layout.load(lab.name)
    switch = found.namespace(SWITCH, "net")
    held = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=end_with_parent)
    try:
        eventually(lambda: os.readlink(f"/proc/{held.pid}/ns/net") != _OWN, within=10, every=0.01)
        namespace = Path(f"/proc/{held.pid}/ns/net")
        inside = ("nsenter", f"--net={namespace}", "ip")
        run(*inside, "link", "add", "eth0", "type", "veth", "peer", "name", PORT, "netns", str(switch))
        run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        hosts.batch(found, SWITCH, [f"link set {PORT} master br0 up"])
        yield Neighbour(namespace)
    finally:
        held.kill()
        held.wait()
