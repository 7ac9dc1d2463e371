"""Connections between pods while the network is damaged, cut, and run by other agents: they survive, and how long they stood still
is reported (the property `downtime`, as JSON)."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_network_repair import DAMAGE, PATIENCE, PROMISED, Place
from tests.support import frames
from tests.support.labs import PATIENCE as SLOWNESS
from tests.support.labs import eventually, running

pytestmark = pytest.mark.root
# Seconds of random damage, at least; one of each class is done first. See docs/network.md.
SOAK = float(os.environ.get("PINNACE_NETWORK_SOAK", "20"))
SEED = int(os.environ.get("PINNACE_NETWORK_SEED") or random.SystemRandom().randrange(1 << 32))
# Seconds between a repair and the next damage.
PAUSE = 0.5
# Seconds without an answer after which a connection has failed, whatever comes later. Repairs take a tenth of it.
STALL = 60.0 * SLOWNESS
PORT = 7000
# What may be deleted, by the words that do it.
CLASSES = {
    "ip route": "route", "ip neigh": "neighbour", "bridge fdb": "FDB entry", "ip link": "link", "ip address": "address",
    "nft delete": "nft", "nft flush": "nft", "nft -a": "nft",
}  # fmt: skip


class Conversation:
    """One TCP connection between two namespaces that never rests: a word there, and back."""

    def __init__(self, client: Path, server: Path, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = frames.within(server, lambda: socket.create_server((address, PORT), family=family))
        self._client = frames.within(client, lambda: socket.create_connection((address, PORT), 10))
        self._served, _ = self._listener.accept()
        self._client.settimeout(STALL)
        self.answers, self.longest, self.failure = 0, 0.0, ""
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve, self._ask)]
        for thread in self._threads:
            thread.start()

    def _serve(self) -> None:
        try:
            while data := self._served.recv(64):
                self._served.sendall(data)
        except OSError:
            pass

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

    def goes_on(self) -> bool:
        """More answers come on the connection that was there from the beginning."""
        before = self.answers
        eventually(lambda: self.failure or self.answers > before + 3, within=60)
        assert not self.failure
        return True

    def take_longest(self) -> float:
        """Seconds of the longest pause so far, which is counted from 0 again."""
        longest, self.longest = self.longest, 0.0
        return round(longest, 3)

    def close(self) -> None:
        self._ending.set()
        for sock in (self._client, self._served, self._listener):
            sock.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("netfaults", tmp_path_factory.mktemp("netfaults"), nodes=2) as lab:
        yield Place(lab)


@pytest.fixture
def conversation(place: Place) -> Iterator[Conversation]:
    pods = place.lab.pods()
    there = Path(f"/proc/{place.lab.state(pods['there'])['pid']}/ns/net")
    made = Conversation(place.here, there, place.there)
    yield made
    made.close()


def damages() -> dict[str, list[str]]:
    """Names of the damage that takes something away, by its class."""
    found: dict[str, list[str]] = {}
    for name, line in sorted(DAMAGE.items()):
        if "deleted" in name or "flushed" in name or "down" in name:
            found.setdefault(CLASSES[" ".join(line.split()[:2])], []).append(name)
    return found


def drawn(chosen: random.Random, end: float) -> Iterator[str]:
    """One of each class in any order, then any until `end`."""
    classes = damages()
    yield from chosen.sample([chosen.choice(names) for names in classes.values()], len(classes))
    while time.monotonic() < end:
        yield chosen.choice([name for names in classes.values() for name in names])


def test_random_damage_under_traffic(
    place: Place, conversation: Conversation, record_property: Callable[[str, object], None]
) -> None:
    """FDB, neighbour and route entries, addresses, links and nft rules that are deleted at random are repaired; the connection
    continues, and never stalls for a minute."""
    before = place.net.snapshot()
    downtime: dict[str, list[float]] = {}
    print(f"PINNACE_NETWORK_SEED={SEED}")
    for name in drawn(random.Random(SEED), time.monotonic() + SOAK):
        with place.agent_asleep():
            place.damage(name)
        eventually(lambda: _as(place.net.snapshot(), before), within=PROMISED + PATIENCE)
        assert conversation.goes_on(), name
        time.sleep(PAUSE)
        assert conversation.goes_on(), name
        downtime.setdefault(name, []).append(conversation.take_longest())
    report = {name: {"times": len(found), "longest_s": max(found)} for name, found in downtime.items()}
    record_property("downtime", json.dumps(report))
    print(json.dumps(report))
    assert {kind for kind, names in damages().items() if downtime.keys() & set(names)} == set(CLASSES.values())
    assert {name: found for name, found in downtime.items() if max(found) >= STALL} == {}


def _as(found: dict[str, object], before: dict[str, object]) -> bool:
    for key, value in before.items():
        assert found[key] == value, key
    return True


def test_a_cut_underlay_that_heals(place: Place, conversation: Conversation) -> None:
    assert place.reached()
    place.lab.lab("node", "cut", "node-2")
    try:
        assert not place.reached()
    finally:
        place.lab.lab("node", "heal", "node-2")
    assert conversation.goes_on()


def test_agents_and_the_control_plane_are_lost_and_return(place: Place, conversation: Conversation) -> None:
    """The kernel forwards packets meanwhile; the agents that return change nothing, and make nothing anew."""
    before = place.net.snapshot(), made(place)
    for node in ("node-1", "node-2"):
        place.lab.kill(node)
    assert conversation.goes_on()
    for node in ("node-1", "node-2"):
        place.lab.start_agent(node)
    eventually(lambda: as_wanted(place))
    assert conversation.goes_on()
    assert (place.net.snapshot(), made(place)) == before
    place.lab.kill("control")
    assert conversation.goes_on()
    place.lab.start_control()
    eventually(place.reached, within=60)
    assert conversation.goes_on()
    eventually(lambda: as_wanted(place))
    assert (place.net.snapshot(), made(place)) == before


def as_wanted(place: Place) -> bool:
    """Both agents are connected, and found no difference."""
    return place.lab.run("net", "verify").stdout.decode().strip().endswith("2 nodes as wanted, 0 with differences")


def made(place: Place) -> list[str]:
    """Devices by index and tables of nftables by handle: those that are made anew have others."""
    links = json.loads(place.net.on("ip", "-j", "link"))
    tables = place.net.on("nft", "-a", "list", "tables").splitlines()
    return sorted([*(f"{link['ifindex']} {link['ifname']}" for link in links), *tables])
