"""The assignment: what is stored where, what is published, and what an agent that starts again finds."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.assignment import PEER, Assignment
from nodeagent.control.changes import Change
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.core.v1 import config_pb2, service_pb2
from pinnace.discovery.v1 import endpointslice_pb2
from tests.support.objects import pod

SECRET = b"opensesame-4711"


class Node:
    """A node's disk and memory, with an assignment over them that `restart` makes again."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.memory = folder / "assignment", folder / "memory/secrets"
        self.published: list[list[Change]] = []
        self.assignment = self.restart()

    def restart(self) -> Assignment:
        self.assignment = Assignment(self.disk, self.memory)
        self.assignment.restore()
        self.assignment.subscribe(("Pod", "Secret", "ConfigMap", "Service", PEER), self.published.append)
        return self.assignment

    def apply(self, *changes: nodes_pb2.Change, complete: bool = False) -> None:
        self.assignment.apply(nodes_pb2.Assignment(complete=complete, changes=changes))

    def keys(self) -> list[str]:
        return [change.key for changes in self.published for change in changes]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def change(key: str, item: Any | None = None) -> nodes_pb2.Change:
    found = nodes_pb2.Change(key=key)
    if item is not None:
        found.object.protobuf = item.SerializeToString()
    return found


def secret(version: str = "1") -> config_pb2.Secret:
    found = config_pb2.Secret(data={"password": SECRET})
    found.metadata.resourceVersion = version
    return found


def peer(address: str = "192.0.2.2") -> nodes_pb2.Change:
    return nodes_pb2.Change(key="Peer//n2", peer=nodes_pb2.Peer(node="n2", podCIDR="10.244.2.0/24", address=address))


def test_a_secret_is_stored_in_memory_and_nowhere_on_the_disk(node: Node) -> None:
    node.apply(change("Secret/default/s", secret()), change("Pod/default/web", pod(meta={"uid": "u1"})))
    node.assignment.close()
    assert not [path for path in node.disk.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    assert node.restart().lookup("Secret", "default", "s") == secret()


async def test_the_event_loop_waits_for_no_sync(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many objects, on a disk that takes its time: they are stored and published meanwhile, and synced in the end."""
    slow, threads, loop = threading.Event(), set[int](), threading.get_ident()

    def fsync(descriptor: int) -> None:
        threads.add(threading.get_ident())
        if threading.get_ident() != loop:
            slow.wait(20)

    monkeypatch.setattr(os, "fsync", fsync)
    for number in range(3):
        node.apply(
            *(change(f"Pod/default/web-{number}-{item}", pod(meta={"uid": "u1"})) for item in range(10)), peer(f"n{number}")
        )
    assert loop not in threads
    assert len(node.keys()) == 33
    assert len(list((node.disk / "objects").iterdir())) == 30
    slow.set()
    node.assignment.close()
    assert len(threads - {loop}) == 1


def test_a_secret_on_the_disk_of_an_earlier_version_moves_to_memory(node: Node) -> None:
    old = node.disk / "objects/Secret%default%s"
    old.write_bytes(secret().SerializeToString())
    assert node.restart().lookup("Secret", "default", "s") == secret()
    assert not old.exists()
    assert node.restart().lookup("Secret", "default", "s") == secret()


def test_a_complete_assignment_removes_what_it_lacks(node: Node) -> None:
    node.apply(change("Secret/default/s", secret()), change("Pod/default/web", pod(meta={"uid": "u1"})), peer())
    node.published.clear()
    node.apply(change("Secret/default/s", secret()), complete=True)
    assert sorted(node.keys()) == ["Peer//n2", "Pod/default/web"]
    found = node.restart()
    assert (found.pods(), found.peers()) == ([], [])
    assert found.lookup("Secret", "default", "s") is not None


def test_a_complete_assignment_in_several_messages_removes_nothing_that_follows(node: Node) -> None:
    """A pod would end, only to start again with the next message."""
    node.apply(change("Secret/default/s", secret()), change("Pod/default/web", pod(meta={"uid": "u1"})))
    node.published.clear()
    node.assignment.apply(
        nodes_pb2.Assignment(complete=True, changes=[change("Secret/default/s", secret())], following=["Pod/default/web"])
    )
    assert node.keys() == []
    assert [key for key, _ in node.assignment.pods()] == ["Pod/default/web"]


def test_all_services_are_known_after_the_last_message_that_has_some(node: Node) -> None:
    """Of those that the first one announced: one may be removed before it comes, or be unreadable, or be there already."""
    known: list[list[str]] = []
    node.assignment.all_known = lambda: known.append(node.keys())
    node.apply(change("Service/default/early", service(1)))
    assert known == []
    following = ["Service/default/a", "EndpointSlice/default/a-1", "Namespace//n", "Service/default/early", "Pod/default/web"]
    node.assignment.apply(
        nodes_pb2.Assignment(complete=True, changes=[change("Service/default/first", service(1))], following=following)
    )
    node.apply(change("Service/default/a", service(1)), change("Namespace//n"))
    assert known == []
    unreadable = nodes_pb2.Change(key="EndpointSlice/default/a-1")
    unreadable.object.protobuf = b"\xff"
    node.apply(unreadable)
    assert known == [["Service/default/early", "Service/default/first", "Service/default/a"]]
    again = Node(node.disk.parent / "again")
    again.assignment.all_known = lambda: known.append([])
    again.apply(complete=True)
    assert known[1:] == [[]]


def test_only_what_differs_is_published_and_all_is_stored_before(node: Node) -> None:
    seen: list[Any] = []
    node.assignment.subscribe(("Pod",), lambda changes: seen.append(node.assignment.lookup("Secret", "default", "s")))
    node.apply(change("Pod/default/web", pod(meta={"uid": "u1"})), change("Secret/default/s", secret()), peer())
    assert seen == [secret()], "a pod's Secrets are there when its subscriber runs"
    node.published.clear()
    node.apply(change("Secret/default/s", secret()), peer())
    assert node.published == []
    node.apply(change("Secret/default/s", secret("2")), peer("192.0.2.9"))
    assert node.keys() == ["Secret/default/s", "Peer//n2"]


def test_a_torn_file_counts_as_absent(node: Node) -> None:
    """After a power failure; the control plane sends the object again."""
    node.apply(change("Pod/default/web", pod(meta={"uid": "u1"})), peer())
    node.assignment.close()
    (node.disk / "objects/Pod%default%web").write_bytes(b"\xff\xff torn")
    (node.disk / "peers/n2").write_bytes(b"\xff\xff torn")
    (node.disk / "objects/.Pod%default%web.123").write_bytes(b"half")
    found = node.restart()
    assert (found.pods(), found.peers()) == ([], [])
    assert not (node.disk / "objects/.Pod%default%web.123").exists()


def test_a_status_alone_is_not_written(node: Node) -> None:
    """The agent wrote it itself; a write for each would double the disk's work."""
    item = pod(meta={"uid": "u1", "resourceVersion": "1"})
    node.apply(change("Pod/default/web", item))
    stored = (node.disk / "objects/Pod%default%web").stat().st_mtime_ns
    item.metadata.resourceVersion, item.status.phase = "2", "Running"
    node.apply(change("Pod/default/web", item))
    assert (node.disk / "objects/Pod%default%web").stat().st_mtime_ns == stored
    item.metadata.resourceVersion, item.metadata.labels["a"] = "3", "b"
    node.apply(change("Pod/default/web", item))
    assert node.restart().pods()[0][1].metadata.labels["a"] == "b"


def test_services_survive_a_restart_without_a_control_plane(node: Node) -> None:
    """All of the cluster, which the disk's thread writes: a restart finds the latest of each, and none that is gone."""
    for number in range(3):
        node.apply(
            change(f"Service/default/s{number}", service(number)), change(f"EndpointSlice/default/e{number}", endpoints())
        )
    node.apply(change("Service/default/s1", service(9)), change("Service/default/s2"), change("EndpointSlice/default/e2"))
    assert node.keys()[-2:] == ["Service/default/s1", "Service/default/s2"]
    node.assignment.close()
    restarted = node.restart()
    assert [item.metadata.resourceVersion for item in restarted.items("Service")] == ["0", "9"]
    assert restarted.lookup("Service", "default", "s1") is not None
    assert len(restarted.items("EndpointSlice")) == 2
    assert {path.stat().st_mode & 0o777 for path in (node.disk / "objects").iterdir()} == {0o600}


def service(version: int) -> service_pb2.Service:
    found = service_pb2.Service()
    found.metadata.resourceVersion = str(version)
    return found


def endpoints() -> endpointslice_pb2.EndpointSlice:
    return endpointslice_pb2.EndpointSlice(addressType="IPv4")


def group(key: str, *ips: str) -> nodes_pb2.Change:
    return nodes_pb2.Change(key=key, policyGroup=nodes_pb2.PolicyGroup(members=[{"podIPs": [ip]} for ip in ips]))  # type: ignore[list-item]


def members(found: nodes_pb2.PolicyGroup | None) -> list[str]:
    return [ip for member in found.members for ip in member.podIPs] if found is not None else []


def test_slices_of_groups_are_published_and_kept_on_the_disk(node: Node) -> None:
    """Those that differ, each once for a message."""
    changes: list[Change] = []
    node.assignment.subscribe(("PolicyGroup",), changes.extend)
    node.apply(
        group("PolicyGroup//ab.0", "10.0.0.1"), group("PolicyGroup//ab.1", "10.0.0.2"), group("PolicyGroup//cd.0", "10.0.0.9")
    )
    assert [(change.key, members(change.new)) for change in changes] == [
        ("PolicyGroup//ab.0", ["10.0.0.1"]), ("PolicyGroup//ab.1", ["10.0.0.2"]), ("PolicyGroup//cd.0", ["10.0.0.9"]),
    ]  # fmt: skip
    changes.clear()
    node.apply(
        change("PolicyGroup//ab.0"), change("PolicyGroup//cd.0"), group("PolicyGroup//ab.1", "10.0.0.2"),
        group("PolicyGroup//ab.2", "10.0.0.3"), change("PolicyGroup//ab.2"),
    )  # fmt: skip
    assert [(item.key, members(item.old), members(item.new)) for item in changes] == [
        ("PolicyGroup//ab.0", ["10.0.0.1"], []), ("PolicyGroup//cd.0", ["10.0.0.9"], []),
    ]  # fmt: skip
    node.assignment.close()
    again = node.restart()
    assert {name: members(found) for name, found in again.groups.all().items()} == {"ab.1": ["10.0.0.2"]}
    assert {path.stat().st_mode & 0o777 for path in (node.disk / "groups").iterdir()} == {0o600}


def test_a_complete_assignment_removes_slices_that_it_lacks(node: Node) -> None:
    """It keeps those that are to follow."""
    node.apply(
        group("PolicyGroup//ab.0", "10.0.0.1"), group("PolicyGroup//ab.1", "10.0.0.2"), group("PolicyGroup//ab.2", "10.0.0.3")
    )
    again = nodes_pb2.Assignment(
        complete=True, changes=[group("PolicyGroup//ab.0", "10.0.0.4")], following=["PolicyGroup//ab.2"]
    )
    node.assignment.apply(again)
    found = {name: members(found) for name, found in node.assignment.groups.all().items()}
    assert found == {"ab.0": ["10.0.0.4"], "ab.2": ["10.0.0.3"]}


@pytest.mark.parametrize(
    "key", ["PolicyGroup//../x.0", "PolicyGroup//ab", "PolicyGroup//ab.x", "PolicyGroup//a/b.0", "PolicyGroup//.0"]
)
def test_a_key_that_is_none_of_a_slice_is_not_understood(node: Node, key: str) -> None:
    """It names no file; the rest of the message is applied."""
    node.apply(group(key, "10.0.0.1"), group("PolicyGroup//ab.0", "10.0.0.2"))
    assert list(node.assignment.groups.all()) == ["ab.0"]
    node.assignment.close()
    assert [path.name for path in (node.disk / "groups").iterdir()] == ["ab.0"]


def test_policies_are_stored_and_known_before_the_pods(node: Node) -> None:
    """So that a subscriber of pods finds them."""
    policy = kinds.NETWORK_POLICY.cls(metadata={"name": "deny", "namespace": "default", "resourceVersion": "1"})
    order: list[str] = []
    for kind in ("Pod", "NetworkPolicy", "PolicyGroup"):
        node.assignment.subscribe((kind,), lambda changes: order.extend(item.key for item in changes))
    node.apply(
        change("Pod/default/web", pod(meta={"uid": "u1"})), change("NetworkPolicy/default/deny", policy), group("PolicyGroup//ab.0", "10.0.0.1")
    )  # fmt: skip
    assert order == ["NetworkPolicy/default/deny", "PolicyGroup//ab.0", "Pod/default/web"]
    node.assignment.close()
    assert node.restart().items("NetworkPolicy") == [policy]
