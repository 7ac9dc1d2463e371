"""What one node is told: its own pods, what they name, its peers, and nothing else."""

from __future__ import annotations

from typing import Any

from controlplane.dispatcher.assignment import VTEP_ANNOTATION, NodeAssignment, config_keys
from controlplane.store import Event, Row
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.kinds import Kind
from tests.support.objects import config_map, container, make, node, pod

_KINDS = {kind.kind: kind for kind in kinds.ALL}


class World:
    """Rows that change, and the assignment of node n1 that follows them."""

    def __init__(self, *messages: Any) -> None:
        self._rows: dict[str, Row] = {}
        self._revision = 0
        for message in messages:
            self._write(message)
        self.assignment = NodeAssignment("n1", self)

    def row(self, kind: Kind, key: str) -> Row | None:
        return self._rows.get(key)

    def _write(self, message: Any) -> Event:
        kind = _KINDS[message.DESCRIPTOR.name]
        key = kind.key(message.metadata.namespace, message.metadata.name)
        self._revision += 1
        old = self._rows.get(key)
        self._rows[key] = Row(kind, key, message.SerializeToString(), self._revision)
        return Event(old, self._rows[key], self._revision)

    def start(self) -> list[nodes_pb2.Change]:
        return self.assignment.start(self._rows.values())

    def put(self, *messages: Any) -> list[nodes_pb2.Change]:
        return self.assignment.step([self._write(message) for message in messages])

    def drop(self, message: Any) -> list[nodes_pb2.Change]:
        kind = _KINDS[message.DESCRIPTOR.name]
        self._revision += 1
        old = self._rows.pop(kind.key(message.metadata.namespace, message.metadata.name))
        return self.assignment.step([Event(old, None, self._revision)])


def told(changes: list[nodes_pb2.Change]) -> list[str]:
    """Keys in order; a leading minus is a removal."""
    return [("" if change.WhichOneof("item") else "-") + change.key for change in changes]


def reading(name: str, *, where: str = "n1", settings: str = "settings", secret: str = "password") -> Any:
    """A pod that names a ConfigMap and a Secret."""
    return pod(
        name, container(envFrom=[{"configMapRef": {"name": settings}}]), nodeName=where,
        volumes=[{"name": "v", "secret": {"secretName": secret}}],
    )  # fmt: skip


def secret(name: str = "password") -> Any:
    return make(kinds.SECRET, name)


def peer(name: str, **meta: Any) -> Any:
    made = node(name, meta={"annotations": {VTEP_ANNOTATION: "0a:00:00:00:00:02"}, **meta}, podCIDR="10.244.2.0/24")
    made.status.addresses.add(type="InternalIP", address="192.0.2.2")
    return made


def test_a_node_sees_only_its_pods_and_what_they_name() -> None:
    """Other nodes' pods and Secrets that no pod here names are not its business."""
    world = World(
        config_map(), config_map("unnamed"), secret(), secret("unnamed"), reading("mine"),
        reading("theirs", where="n2", secret="unnamed"), pod("waiting"),
    )  # fmt: skip
    assert told(world.start()) == ["ConfigMap/default/settings", "Secret/default/password", "Pod/default/mine"]


def test_an_object_is_told_once_wherever_it_stands() -> None:
    """Also when its row comes after that of the pod: a Secret may be a megabyte."""
    world = World(reading("web"), config_map(), secret())
    assert told(world.start()) == ["ConfigMap/default/settings", "Secret/default/password", "Pod/default/web"]


def test_the_same_name_in_another_namespace_is_another_object() -> None:
    """A pod reads from its own namespace only."""
    world = World(secret(), make(kinds.SECRET, "password", namespace="other"), reading("mine"))
    assert "Secret/other/password" not in told(world.start())


def test_a_pod_comes_after_what_it_names() -> None:
    """Else the agent would start it without."""
    world = World(config_map(), secret())
    assert world.start() == []
    changes = world.put(reading("web"))
    assert told(changes) == ["ConfigMap/default/settings", "Secret/default/password", "Pod/default/web"]
    assert kinds.POD.cls.FromString(changes[-1].object.protobuf).metadata.resourceVersion == "3"


def test_an_object_leaves_with_the_last_pod_that_names_it() -> None:
    """And comes again with the next."""
    first, second = reading("first"), reading("second")
    world = World(config_map(), secret(), first, second)
    world.start()
    assert told(world.drop(first)) == ["-Pod/default/first"]
    assert told(world.drop(second)) == ["-Pod/default/second", "-ConfigMap/default/settings", "-Secret/default/password"]
    assert told(world.put(secret())) == []
    assert "Secret/default/password" in told(world.put(reading("third")))


def test_changes_of_named_objects_follow() -> None:
    """Also their creation after the pod, and their deletion."""
    world = World(reading("web"))
    assert told(world.start()) == ["Pod/default/web"]
    assert told(world.put(config_map())) == ["ConfigMap/default/settings"]
    assert told(world.drop(config_map())) == ["-ConfigMap/default/settings"]
    assert told(world.put(config_map("unnamed"))) == []


def test_a_pod_bound_elsewhere_is_never_mentioned() -> None:
    """Not even when it goes."""
    world = World()
    assert told(world.put(pod("web"))) == []
    assert told(world.put(pod("web", nodeName="n2"))) == []
    assert told(world.drop(pod("web"))) == []


def test_a_pod_recreated_under_its_name_is_read_anew() -> None:
    """Its references may be others."""
    world = World(config_map(), config_map("other"), secret(), reading("web"))
    world.start()
    world.drop(reading("web"))
    changes = told(world.put(reading("web", settings="other")))
    assert changes == ["ConfigMap/default/other", "Secret/default/password", "Pod/default/web"]


def test_every_way_to_name_an_object_counts() -> None:
    """Volumes, env, envFrom, in all containers, and pull secrets."""

    def env(kind: str, name: str) -> dict[str, Any]:
        return {"name": name.upper(), "valueFrom": {f"{kind}KeyRef": {"name": name, "key": "k"}}}

    subject = pod(
        "web", container(env=[env("configMap", "a"), env("secret", "b")]),
        init=(container("first", envFrom=[{"secretRef": {"name": "c"}}, {"configMapRef": {"name": "d"}}]),),
        volumes=[{"name": "v", "configMap": {"name": "e"}}, {"name": "w", "secret": {"secretName": "f"}}],
        imagePullSecrets=[{"name": "g"}],
    )  # fmt: skip
    assert config_keys(subject) == {
        *(kinds.CONFIG_MAP.key("default", name) for name in "ade"),
        *(kinds.SECRET.key("default", name) for name in "bcfg"),
    }


def test_peers_are_the_other_nodes_that_are_complete() -> None:
    """With a range, an address and a VTEP; never the node itself."""
    world = World(peer("n1"), peer("n2"), node("n3"))
    [change] = world.start()
    assert change.peer == nodes_pb2.Peer(node="n2", podCIDR="10.244.2.0/24", address="192.0.2.2", vtepMac="0a:00:00:00:00:02")
    assert told(world.put(peer("n3"))) == ["Peer//n3"]
    assert told(world.drop(peer("n3"))) == ["-Peer//n3"]
    assert told(world.drop(peer("n1"))) == []


def test_a_peer_is_told_again_only_when_it_changed_for_the_overlay() -> None:
    """Labels and statuses are no news."""
    world = World(peer("n2"))
    world.start()
    assert told(world.put(peer("n2", labels={"zone": "x"}))) == []
    moved = peer("n2")
    moved.status.addresses[0].address = "192.0.2.9"
    assert told(world.put(moved)) == ["Peer//n2"]
    moved.status.ClearField("addresses")
    assert told(world.put(moved)) == ["-Peer//n2"]
