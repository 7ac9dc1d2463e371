"""Static pods and the NetworkPolicies of their namespaces: what the agent names, and how long a pod waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.assignment import Assignment
from nodeagent.pods.manager import PodManager
from nodeagent.pods.ownership import PATIENCE
from nodeagent.runtime.fake import FakeRuntime, World
from nodeagent.statics.namespaces import ANSWER
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from pinnace.podresources import MIRROR, SOURCE
from tests.support.hosting import EveryImage, Host
from tests.support.objects import pod


def static(name: str = "web", space: str = "shop", **spec: Any) -> Any:
    return pod(name, namespace=space, meta={"uid": f"uid-{name}", "annotations": {SOURCE: "file"}}, nodeName="n1", **spec)


def known(namespace: str = "shop", *, there: bool = True) -> nodes_pb2.Change:
    found = nodes_pb2.Change(key=f"PolicyNamespace//{namespace}")
    if there:
        found.policyNamespace.SetInParent()
    return found


class Node:
    """An agent without a control plane."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock, self.world = path, VirtualClock(), World()
        self.host = Host(path, FakeRuntime(self.clock, self.world), self.clock)
        self.begin()

    def begin(self) -> None:
        """As an agent that starts."""
        self.assignment = Assignment(self.path / "assignment", self.path / "secrets")
        self.assignment.restore()
        self.manager = PodManager(self.assignment)
        self.named = list[tuple[str, ...]]()
        self.manager.static_namespaces.changed = lambda: self.named.append(self.manager.static_namespaces.named)

    def start(self, *statics: Any) -> None:
        self.manager.start(self.host.deps(images=EveryImage(), puller=EveryImage()), statics)

    def apply(self, *changes: nodes_pb2.Change, complete: bool = False) -> None:
        self.assignment.apply(nodes_pb2.Assignment(complete=complete, changes=changes))

    @property
    def isolated(self) -> set[str]:
        return set(self.host.isolation.attached)

    async def turn(self) -> None:
        """Time for the workers' threads, none by the clock."""
        for _ in range(20):
            await self.clock.advance(0)
            await asyncio.sleep(0.01)

    async def until(self, check: Any) -> None:
        async with asyncio.timeout(10):
            while not check():
                await self.clock.advance(0.01)
                await asyncio.sleep(0.01)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    found = Node(tmp_path)
    yield found
    await found.manager.close()


async def test_a_static_pod_waits_for_the_policies_of_its_namespace(node: Node) -> None:
    """Not for those of another one, and no longer than the control plane takes to send them."""
    node.start(static())
    assert node.named == [("shop",)]
    await node.turn()
    node.apply(known("other"))
    await node.turn()
    assert not node.isolated
    node.apply(known())
    await node.until(lambda: node.isolated == {"uid-web"})


async def test_a_static_pod_starts_without_a_control_plane(node: Node) -> None:
    """After a time; at once one in the network of its node, and one of a namespace whose policies came before the session ended."""
    node.start(static(), static("host", hostNetwork=True), static("db", "db"))
    assert node.named[-1] == ("db", "shop")
    node.apply(known("db"))
    await node.until(lambda: node.isolated == {"uid-db"} and len(node.world.sandboxes) == 2)
    await node.clock.advance(PATIENCE)
    await node.until(lambda: node.isolated == {"uid-db", "uid-web"})


async def test_policies_on_the_disk_are_confirmed_first(node: Node) -> None:
    """They may be old after a reboot; a confirmation that changes nothing starts the pod."""
    node.apply(known())
    await node.manager.close()
    node.assignment.close()
    node.begin()
    node.start(static())
    assert node.assignment.policed("shop")
    await node.turn()
    assert not node.isolated
    node.apply(known(), complete=True)
    await node.until(lambda: node.isolated == {"uid-web"})


async def test_a_static_pod_waits_longer_for_a_control_plane_that_is_there(node: Node) -> None:
    """With a session that was there before it, or begins while it waits."""
    node.start(static())
    await node.clock.advance(PATIENCE - 1)
    node.manager.connected()
    node.manager.static_namespaces.session = lambda: True
    node.manager.want([static(), static("db", "db")])
    await node.clock.advance(ANSWER - 1)
    await node.turn()
    assert not node.isolated
    await node.clock.advance(2)
    await node.until(lambda: node.isolated == {"uid-db", "uid-web"})


async def test_sessions_that_begin_again_and_again_do_not_hold_a_pod_back(node: Node) -> None:
    """Each could be the one that answers; the pod waits for the first."""
    node.start(static())
    for _ in range(3):
        await node.clock.advance(PATIENCE - 1)
        node.manager.connected()
    assert not node.isolated
    for _ in range(8):
        node.manager.connected()
        await node.clock.advance(PATIENCE - 1)
    await node.until(lambda: node.isolated == {"uid-web"})


async def test_a_pod_of_the_api_brings_the_policies_of_its_namespace(node: Node) -> None:
    """They are in the assignment before it; a mirror pod does the same."""
    node.start(static())
    mirror = static()
    mirror.metadata.annotations[MIRROR] = "uid-web"
    mirror.metadata.resourceVersion = "1"
    change = nodes_pb2.Change(key="Pod/shop/web")
    change.object.protobuf = mirror.SerializeToString()
    node.apply(change)
    await node.until(lambda: node.isolated == {"uid-web"})


async def test_a_pod_waits_again_when_its_namespace_was_withdrawn(node: Node) -> None:
    """The control plane had yet to learn of the pod."""
    node.start()
    node.apply(known())
    node.manager.want([static()])
    node.apply(known(there=False))
    await node.turn()
    assert not node.isolated
    node.apply(known())
    await node.until(lambda: node.isolated == {"uid-web"})


async def test_a_namespace_is_named_until_its_last_static_pod_is_gone(node: Node) -> None:
    """Its file is gone at once, and the pod ends with its grace."""
    node.start(static())
    node.apply(known())
    await node.until(lambda: node.isolated == {"uid-web"})
    node.manager.want([])
    await node.turn()
    assert node.manager.workers
    assert node.named == [("shop",)]
    await node.until(lambda: not node.manager.workers)
    assert node.named == [("shop",), ()]


async def test_an_agent_that_starts_names_pods_whose_files_are_gone(node: Node) -> None:
    """They end with their grace."""
    node.start(static())
    node.apply(known())
    await node.until(lambda: node.isolated == {"uid-web"})
    await node.manager.close()
    node.assignment.close()
    node.begin()
    node.start()
    assert node.named == [("shop",)]
    assert node.assignment.policed("shop")
    node.apply(complete=True)
    assert not node.assignment.policed("shop")
