"""What one node is told: its own pods, what they name, its peers, and nothing else."""

from __future__ import annotations

from typing import Any

from controlplane import resources
from controlplane.dispatcher.assignment import MAX_CHANGE_BYTES, NodeAssignment
from controlplane.dispatcher.podcidrs import PodCIDRs
from controlplane.dispatcher.router import Router
from controlplane.podranges import Range
from controlplane.store import Event, StoredObject
from controlplane.store.indexes import Index
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.kinds import Kind
from pinnace.podreferences import config_keys
from pinnace.wellknown import ANNOTATION_VTEP_MAC
from tests.support.objects import config_map, container, make, node, pod

_REGISTRY = resources.built_in()
_KINDS = {kind.kind: kind for kind in kinds.ALL}


class World:
    """Objects that change, and the assignment of node n1 that follows them."""

    def __init__(self, *messages: Any) -> None:
        self._rows: dict[str, StoredObject] = {}
        self.revision = 0
        self.woken = 0
        for message in messages:
            self.write(message)
        self.router = Router(self, PodCIDRs(Range("10.244.0.0/14", 24)))

    def row(self, kind: Kind, key: str) -> StoredObject | None:
        return self._rows.get(key)

    def rows(self, kind: Kind, namespace: str = "") -> list[StoredObject]:
        start = f"{kind.prefix}{namespace}/" if namespace else kind.prefix
        return [row for key, row in self._rows.items() if key.startswith(start)]

    def rows_by(self, kind: Kind, index: str, value: str) -> list[StoredObject]:
        keys = Index(_REGISTRY.index(kind, index), (row for row in self._rows.values() if row.kind is kind)).keys(value)
        return [self._rows[key] for key in keys]

    def write(self, message: Any) -> Event:
        kind = _KINDS[message.DESCRIPTOR.name]
        key = kind.key(message.metadata.namespace, message.metadata.name)
        self.revision += 1
        old = self._rows.get(key)
        self._rows[key] = StoredObject(kind, key, message.SerializeToString(), self.revision)
        return Event(old, self._rows[key], self.revision)

    def _wake(self) -> None:
        self.woken += 1

    def open(self, node: str = "n1") -> NodeAssignment:
        """A session of the node; the router has seen everything so far."""
        self.router.load(self._rows.values())
        return self.router.open(node, self._wake)

    def start(self) -> list[nodes_pb2.Change]:
        self.assignment = self.open()
        [message] = sent(self.assignment)
        assert message.complete
        return list(message.changes)

    def put(self, *messages: Any) -> list[nodes_pb2.Change]:
        return self.step(*[self.write(message) for message in messages])

    def step(self, *events: Event) -> list[nodes_pb2.Change]:
        for event in events:
            self.router.take(event)
        return [change for message in sent(self.assignment) for change in message.changes]

    def remove(self, message: Any) -> Event:
        kind = _KINDS[message.DESCRIPTOR.name]
        self.revision += 1
        old = self._rows.pop(kind.key(message.metadata.namespace, message.metadata.name))
        return Event(old, None, self.revision)

    def drop(self, message: Any) -> list[nodes_pb2.Change]:
        return self.step(self.remove(message))


def sent(assignment: NodeAssignment) -> list[nodes_pb2.Assignment]:
    """The messages that there are to send."""
    return list(iter(lambda: next_of(assignment), None))


def next_of(assignment: NodeAssignment) -> nodes_pb2.Assignment | None:
    found = assignment.next()
    return nodes_pb2.Assignment.FromString(found) if found is not None else None


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


def service(name: str = "web", port: int = 80, **meta: Any) -> Any:
    return make(kinds.SERVICE, name, meta=meta, spec={"ports": [{"port": port}]})


def endpoint_slice(name: str = "web-1", last: int = 1, **meta: Any) -> Any:
    return make(kinds.ENDPOINT_SLICE, name, meta=meta, addressType="IPv4", endpoints=[{"addresses": [f"10.0.0.{last}"]}])


def peer(name: str, **meta: Any) -> Any:
    made = node(name, meta={"annotations": {ANNOTATION_VTEP_MAC: "0a:00:00:00:00:02"}, **meta}, podCIDR="10.244.2.0/24")
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
    world.start()
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
    assert change.peer == nodes_pb2.Peer(
        node="n2",
        podCIDR="10.244.2.0/24",
        address="192.0.2.2",
        vtepMac="0a:00:00:00:00:02",
        podCIDRs=["10.244.2.0/24"],
        addresses=["192.0.2.2"],
    )
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


def version(change: nodes_pb2.Change) -> str:
    return str(_KINDS[change.key.partition("/")[0]].cls.FromString(change.object.protobuf).metadata.resourceVersion)


def test_an_object_never_goes_back_to_an_older_version() -> None:
    """A pod that names it takes the latest; the event of an earlier change, which comes after that, brings nothing."""
    world = World(secret())
    world.start()
    bound = world.write(reading("web"))
    events = [world.write(config_map()), world.write(config_map())]
    changes = world.step(bound, *events)
    assert told(changes) == ["ConfigMap/default/settings", "Secret/default/password", "Pod/default/web"]
    assert version(changes[0]) == str(world.revision)
    assert world.step(*events) == []


def test_a_slow_agent_gets_only_the_latest_of_each_object() -> None:
    """However many changes it missed, and nothing of pods that came and went meanwhile."""
    world = World(config_map(), secret(), reading("web"))
    world.start()
    events = [world.write(config_map()) for _ in range(1000)]
    events += [world.write(pod("short", nodeName="n1")), world.remove(pod("short"))]
    assert told(world.step(*events)) == ["ConfigMap/default/settings"]


def test_an_event_wakes_only_the_sessions_that_it_concerns() -> None:
    """That of the pod's node, those whose pods name the object, and none for what nodes report of themselves."""
    world = World(config_map(), secret(), reading("web", where="n7"))
    others = [world.open(f"n{number}") for number in range(20)]
    assignment = world.open("n7")
    for item in (*others, assignment):
        sent(item)
    world.woken = 0
    for event in (world.write(config_map()), world.write(reading("web", where="n7")), world.write(peer("n3"))):
        world.router.take(event)
    # Two sessions of n7, two events.
    assert world.woken == 4
    assert told([change for message in sent(assignment) for change in message.changes]) == [
        "ConfigMap/default/settings", "Pod/default/web", "Peer//n3",
    ]  # fmt: skip


def test_a_large_assignment_lists_what_follows() -> None:
    """In messages of bounded size, and without the agent ending what the first one does not bring."""
    big = [make(kinds.SECRET, f"s{number}", data={"k": "A" * 1_400_000}) for number in range(5)]
    pods = [reading(f"p{number}", secret=f"s{number}") for number in range(5)]
    world = World(config_map(), *big, *pods)
    first, *rest = sent(world.open())
    assert first.complete
    assert not any(message.complete for message in rest)
    brought = {change.key for change in first.changes}
    later = {change.key for message in rest for change in message.changes}
    assert set(first.following) == later
    assert brought | later == {
        "ConfigMap/default/settings",
        *(f"Secret/default/s{n}" for n in range(5)),
        *(f"Pod/default/p{n}" for n in range(5)),
    }
    assert all(message.ByteSize() < 4 << 20 for message in (first, *rest))


def test_an_object_that_disappears_before_it_is_sent_is_withdrawn() -> None:
    """The agent may have it from an earlier session, and the first message told it to keep that."""
    big = [make(kinds.SECRET, f"s{number}", data={"k": "A" * 1_400_000}) for number in range(5)]
    world = World(config_map(), *big, *(reading(f"p{number}", secret=f"s{number}") for number in range(5)))
    assignment = world.open()
    first = next_of(assignment)
    assert first is not None
    assert {"Secret/default/s4", "Pod/default/p4"} <= set(first.following)
    for event in (world.remove(big[4]), world.remove(reading("p4", secret="s4"))):
        world.router.take(event)
    left = told([change for message in sent(assignment) for change in message.changes])
    assert {"-Secret/default/s4", "-Pod/default/p4"} <= set(left)


def test_sessions_catch_up_after_the_watch_was_lost() -> None:
    """With everything that changed meanwhile: pods, objects and peers, come and gone."""
    world = World(config_map(), secret(), reading("web"), peer("n2"), peer("n3"))
    world.start()
    world.write(config_map())
    world.write(pod("new", nodeName="n1"))
    world.remove(reading("web"))
    world.remove(peer("n2"))
    world.router.load(world._rows.values())
    assert told(world.step()) == [
        "-Pod/default/web", "-ConfigMap/default/settings", "-Secret/default/password", "Pod/default/new", "-Peer//n2",
    ]  # fmt: skip


def test_a_pod_that_cannot_be_read_costs_the_others_nothing() -> None:
    """Of the same node."""
    world = World(pod("good", nodeName="n1"))
    broken = StoredObject(kinds.POD, kinds.POD.key("default", "bad"), b"\xff\xff", 2)
    world.start()
    world._rows[broken.key] = broken
    world.assignment.mark(broken.key)
    assert told(world.put(pod("good", nodeName="n1", meta={"labels": {"a": "b"}}))) == ["Pod/default/good"]


def test_every_node_has_all_services_and_their_endpoints() -> None:
    """Also one that runs no pod of theirs; a change is sent as such, and a removal."""
    world = World(service(), endpoint_slice(), service("db"))
    assert told(world.start()) == ["Service/default/web", "EndpointSlice/default/web-1", "Service/default/db"]
    assert told(world.put(service(port=81), endpoint_slice("web-2", 2))) == [
        "Service/default/web",
        "EndpointSlice/default/web-2",
    ]
    assert told(world.drop(endpoint_slice())) == ["-EndpointSlice/default/web-1"]
    assert told(world.drop(service("db"))) == ["-Service/default/db"]


def test_every_node_has_the_names_of_namespaces() -> None:
    """Which its DNS answers about; a change of anything else in them is sent to no node."""
    world = World(make(kinds.NAMESPACE, "lab", meta={"labels": {"a": "b"}}))
    [change] = world.start()
    assert (change.key, kinds.NAMESPACE.cls.FromString(change.object.protobuf).metadata.labels) == ("Namespace//lab", {})
    assert world.put(make(kinds.NAMESPACE, "lab", meta={"labels": {"a": "c"}})) == []
    assert told(world.drop(make(kinds.NAMESPACE, "lab"))) == ["-Namespace//lab"]


def test_nodes_get_of_services_what_they_act_on() -> None:
    """Neither managedFields nor annotations; a change of these alone is sent to no node."""
    world = World(service(annotations={"a": "b"}, labels={"c": "d"}, uid="u"))
    [change] = world.start()
    got = kinds.SERVICE.cls.FromString(change.object.protobuf)
    assert (got.metadata.uid, dict(got.metadata.labels), got.metadata.resourceVersion) == ("u", {"c": "d"}, "1")
    assert (len(got.metadata.annotations), got.spec.ports[0].port) == (0, 80)
    assert world.put(service(annotations={"a": "other"}, labels={"c": "d"}, uid="u")) == []
    assert told(world.put(service(labels={"c": "e"}, uid="u"))) == ["Service/default/web"]


def test_a_slow_node_gets_only_the_latest_of_a_service() -> None:
    """However often it changed meanwhile; one that came and went is a removal of what the node does not have."""
    world = World(service())
    world.start()
    for port in range(1, 50):
        world.router.take(world.write(service(port=port)))
    world.router.take(world.write(service("brief")))
    [change, gone] = world.drop(service("brief"))
    assert kinds.SERVICE.cls.FromString(change.object.protobuf).spec.ports[0].port == 49
    assert told([gone]) == ["-Service/default/brief"]


def test_many_services_come_in_messages_of_bounded_size() -> None:
    """The complete message lists those that the next ones bring; one that is removed in between is removed. A pod comes after
    the Services, which its containers find in their environment."""
    text = {"x" * 60 + str(number): "y" * 60 for number in range(400)}
    world = World(reading("mine"), *(service(f"s{number}", labels=text) for number in range(120)))
    world.assignment = world.open()
    first = next_of(world.assignment)
    assert first is not None
    assert first.complete
    assert first.ByteSize() < MAX_CHANGE_BYTES
    brought = [change.key for change in first.changes]
    assert {*brought, *first.following} == {f"Service/default/s{number}" for number in range(120)} | {"Pod/default/mine"}
    assert first.following
    assert first.revision < world.revision
    world.router.take(world.remove(service("s119")))
    rest = sent(world.assignment)
    assert all(message.ByteSize() < MAX_CHANGE_BYTES and not message.complete for message in rest)
    keys = told([change for message in rest for change in message.changes])
    assert next(message for message in rest if told([*message.changes])[0].startswith("Pod/")) is rest[-1]
    assert set(keys) == {*first.following} - {"Service/default/s119"} | {"-Service/default/s119"}
    assert rest[-1].revision == world.revision


def test_a_change_of_a_service_is_serialized_once() -> None:
    """Of 500 sessions all send the same bytes, which are made when the object changes."""
    world = World(service())
    sessions = [world.open(f"n{number}") for number in range(500)]
    for session in sessions:
        sent(session)
    world.router.take(world.write(service(port=81)))
    entries = world.router.services._entries
    [data] = {id(entry.data) for key, entry in entries.items() if key == "Service/default/web"}
    messages = [session.next() for session in sessions]
    assert {id(entry.data) for entry in entries.values()} == {data}
    assert len(set(messages)) == 1
    assert [session.next() for session in sessions] == [None] * 500
