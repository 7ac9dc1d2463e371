"""Connections between pods while the network is damaged, cut, and run by other agents: they survive, and how long they stood still
is reported (the property `downtime`, as JSON)."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_network_repair import DAMAGE, PATIENCE, PROMISED, Place
from tests.support.conversations import STALL, Conversation
from tests.support.labs import PATIENCE as SLOWNESS
from tests.support.labs import eventually, running
from tests.support.netreport import explained

pytestmark = pytest.mark.root
# Seconds of random damage, at least; one of each class is done first. See docs/network.md.
SOAK = float(os.environ.get("PINNACE_NETWORK_SOAK", "20"))
SEED = int(os.environ.get("PINNACE_NETWORK_SEED") or random.SystemRandom().randrange(1 << 32))
# Seconds between a repair and the next damage.
PAUSE = 0.5
# What may be deleted, by the words that do it.
CLASSES = {
    "ip route": "route", "ip neigh": "neighbour", "bridge fdb": "FDB entry", "ip link": "link", "ip address": "address",
    "nft delete": "nft", "nft flush": "nft", "nft -a": "nft",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("netfaults", tmp_path_factory.mktemp("netfaults"), nodes=2) as lab:
        yield Place(lab)


@pytest.fixture
def conversation(place: Place) -> Iterator[Conversation]:
    made = Conversation(place.here, there(place), place.there)
    yield made
    made.close()


def there(place: Place) -> Path:
    """The network namespace of the pod on node-2."""
    return Path(f"/proc/{place.lab.state(place.lab.pods()['there'])['pid']}/ns/net")


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


# With time for the report, when the connection has stalled.
@pytest.mark.timeout(600 * SLOWNESS)
def test_agents_and_the_control_plane_are_lost_and_return(place: Place, conversation: Conversation) -> None:
    """The kernel forwards packets meanwhile; the agents that return change nothing, and make nothing anew."""
    pods = {"here": place.here, "there": there(place)}
    with explained(place.lab, "node-1", "node-2", pods=pods, more=conversation):
        lose_agents_and_control_plane(place, conversation)


def lose_agents_and_control_plane(place: Place, conversation: Conversation) -> None:
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
