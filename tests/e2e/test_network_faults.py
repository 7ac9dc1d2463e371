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
# Seconds of random damage; PINNACE_NETWORK_SOAK=120 for two minutes.
SOAK = float(os.environ.get("PINNACE_NETWORK_SOAK", "20"))
# Seconds between a repair and the next damage.
PAUSE = 0.5
PORT = 7000


class Conversation:
    """One TCP connection between two namespaces that never rests: a word there, and back."""

    def __init__(self, client: Path, server: Path, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = frames.within(server, lambda: socket.create_server((address, PORT), family=family))
        self._client = frames.within(client, lambda: socket.create_connection((address, PORT), 10))
        self._served, _ = self._listener.accept()
        self._client.settimeout(60 * SLOWNESS)
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


def test_random_damage_under_traffic(
    place: Place, conversation: Conversation, record_property: Callable[[str, object], None]
) -> None:
    """Each part that is deleted at random is repaired, and the connection continues."""
    chosen = random.Random(int(os.environ.get("PINNACE_NETWORK_SEED", "7")))
    names = [name for name in sorted(DAMAGE) if "deleted" in name or "flushed" in name or "down" in name]
    before = place.net.snapshot()
    downtime: dict[str, list[float]] = {}
    end = time.monotonic() + SOAK
    while time.monotonic() < end:
        name = chosen.choice(names)
        conversation.take_longest()
        with place.agent_asleep():
            place.damage(name)
        eventually(lambda: _as(place.net.snapshot(), before), within=PROMISED + PATIENCE)
        assert conversation.goes_on()
        downtime.setdefault(name, []).append(conversation.take_longest())
        time.sleep(PAUSE)
    report = {name: {"times": len(found), "longest_s": max(found)} for name, found in downtime.items()}
    record_property("downtime", json.dumps(report))
    print(json.dumps(report))
    assert report


def _as(found: dict[str, object], before: dict[str, object]) -> bool:
    for key, value in before.items():
        assert found[key] == value, key
    return True


def test_a_cut_underlay_that_heals(place: Place, conversation: Conversation) -> None:
    place.lab.lab("node", "cut", "node-2")
    try:
        assert not place.reached()
    finally:
        place.lab.lab("node", "heal", "node-2")
    assert conversation.goes_on()


def test_agents_and_the_control_plane_are_lost_and_return(place: Place, conversation: Conversation) -> None:
    """The kernel forwards packets meanwhile; the agents that return change nothing."""
    for node in ("node-1", "node-2"):
        place.lab.kill(node)
    assert conversation.goes_on()
    for node in ("node-1", "node-2"):
        place.lab.start_agent(node)
    eventually(lambda: b"Ready" in place.lab.run("get", "nodes").stdout)
    assert conversation.goes_on()
    place.lab.kill("control")
    assert conversation.goes_on()
    place.lab.start_control()
    eventually(place.reached, within=60)
    assert conversation.goes_on()
    # Once both agents are connected again.
    report = eventually(lambda: text if "without a report" not in (text := verified(place)) else "")
    assert report.endswith("2 nodes as wanted, 0 with differences")


def verified(place: Place) -> str:
    return place.lab.run("net", "verify").stdout.decode().strip()
