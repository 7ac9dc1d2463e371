"""Random changes, deliveries, slow sessions and lost watches: an agent always ends with exactly what is assigned to it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from controlplane.dispatcher.assignment import NodeAssignment
from controlplane.dispatcher.serviceobjects import KINDS, short_key
from controlplane.store import Event
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.podreferences import config_keys
from tests.cluster.test_assignment import World, endpoint_slice, next_of, peer, reading, secret, service
from tests.support.objects import config_map

NAMES = [f"c{number}" for number in range(4)]
_KINDS = {kind.kind: kind for kind in kinds.ALL}


def content(item: Any) -> str:
    """Of a Service or an EndpointSlice. The version may be an earlier one with the same content."""
    return str(item.spec if hasattr(item, "spec") else item.endpoints)


class Agent:
    """What an agent has, by the rules of `nodeagent.control.assignment`."""

    def __init__(self) -> None:
        self.has: dict[str, Any] = {}

    def apply(self, message: nodes_pb2.Assignment) -> None:
        versions = {key: int(item.metadata.resourceVersion) for key, item in self.has.items() if not key.startswith("Peer")}
        if message.complete:
            kept = {change.key for change in message.changes} | set(message.following)
            self.has = {key: item for key, item in self.has.items() if key in kept}
        for change in message.changes:
            if change.HasField("object"):
                item = _KINDS[change.key.partition("/")[0]].cls.FromString(change.object.protobuf)
                assert int(item.metadata.resourceVersion) >= versions.get(change.key, 0), f"{change.key} went back"
                self.has[change.key] = item
            elif change.HasField("peer"):
                self.has[change.key] = change.peer
            else:
                self.has.pop(change.key, None)


class Play:
    """A world, its events on their way to the router, and an agent with a session."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.events: list[Event] = []
        self.agent = Agent()
        self.world.router.load(())
        self.session: NodeAssignment = self.world.router.open("n1", lambda: None)

    def write(self) -> None:
        draw, name = self.random, self.random.choice(NAMES)
        choice = draw.randrange(6)
        if choice == 0:
            message = reading(name, where=draw.choice(("n1", "n2")), settings=draw.choice(NAMES), secret=draw.choice(NAMES))
            # A pod is bound once: to another node only as another pod.
            self.remove(message)
        elif choice == 1:
            message = config_map(name)
        elif choice == 2:
            message = secret(name)
        elif choice in (3, 4):
            message = (service, endpoint_slice)[choice - 3](name, draw.randrange(1, 4))
        else:
            message = peer(f"n{draw.randrange(2, 5)}")
            message.status.addresses[0].address = f"192.0.2.{draw.randrange(9)}"
        self.events.append(self.world.write(message))

    def remove(self, message: Any = None) -> None:
        draw = self.random
        name = draw.choice(NAMES)
        every = (
            reading(name),
            config_map(name),
            secret(name),
            service(name),
            endpoint_slice(name),
            peer(f"n{draw.randrange(2, 5)}"),
        )
        message = message or draw.choice(every)
        kind = _KINDS[message.DESCRIPTOR.name]
        if self.world.row(kind, kind.key(message.metadata.namespace, message.metadata.name)) is not None:
            self.events.append(self.world.remove(message))

    def deliver(self) -> None:
        """Some events reach the router."""
        for _ in range(self.random.randrange(4)):
            if self.events:
                self.world.router.take(self.events.pop(0))

    def send(self) -> None:
        """The session's next message reaches the agent."""
        message = next_of(self.session)
        if message is not None:
            self.agent.apply(message)

    def reconnect(self) -> None:
        self.world.router.close(self.session)
        self.session = self.world.router.open("n1", lambda: None)

    def lose(self) -> None:
        """The router's watch fell behind."""
        self.events.clear()
        self.world.router.load(self.world._rows.values())

    def step(self) -> None:
        steps = (self.write, self.remove, self.deliver, self.send, self.reconnect, self.lose)
        self.random.choices(steps, weights=(8, 4, 8, 6, 1, 1))[0]()

    def finish(self) -> None:
        while self.events:
            self.world.router.take(self.events.pop(0))
        while (message := next_of(self.session)) is not None:
            self.agent.apply(message)

    def wanted(self) -> dict[str, str]:
        """Key and version (of peers, the address) of everything that node n1 needs."""
        found, rows = {}, self.world._rows
        pods = [row for row in rows.values() if row.kind is kinds.POD and row.message.spec.nodeName == "n1"]
        named = {key for row in pods for key in config_keys(row.message)}
        for row in (*pods, *(rows[key] for key in named if key in rows)):
            found[f"{row.kind.kind}/{row.key.removeprefix(row.kind.prefix)}"] = str(row.revision)
        for row in rows.values():
            if row.kind in KINDS:
                found[short_key(row.kind, row.key)] = content(row.message)
            if row.kind is kinds.NODE:
                node = row.message
                found[f"Peer//{node.metadata.name}"] = node.status.addresses[0].address
        return found

    def has(self) -> dict[str, str]:
        return {
            key: content(item) if key.startswith(("Service/", "EndpointSlice/"))
            else item.address if isinstance(item, nodes_pb2.Peer) else item.metadata.resourceVersion
            for key, item in self.agent.has.items()
        }  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_an_agent_ends_with_what_is_assigned_to_it(seed: int) -> None:
    """Whatever order events and messages come in; and no object ever goes back."""
    play = Play(seed)
    for _ in range(300):
        play.step()
    play.finish()
    assert play.has() == play.wanted()
    # What nothing follows any more is not remembered.
    play.world.router.close(play.session)
    assert not play.world.router._followers
