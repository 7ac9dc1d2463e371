"""NetworkPolicies on their way to agents: after any changes a node has the policies of its pods' namespaces and of those that it
names for its static pods, the pods that their peers select, and nothing else; and a change costs what it changes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.dispatcher import nodepolicies, policies, policygroups, policymembers
from controlplane.dispatcher.policies import PolicyTable
from controlplane.dispatcher.policygroups import Facts, Group
from controlplane.store import Event, StoredObject
from pinnace import kinds, labelselectors, policypeers
from pinnace.api.v1 import nodes_pb2
from pinnace.meta.v1.meta_pb2 import LabelSelector
from pinnace.networking.v1.networkpolicy_pb2 import NetworkPolicyPeer
from tests.cluster.test_assignment import World, next_of, told
from tests.support.objects import make, pod
from tests.unit.controlplane.dispatcher.test_convergence import Agent

NAMESPACES, NODES, NAMES = ("a", "b", "c"), ("n1", "n2"), ("p0", "p1", "p2", "p3")
# Labels of pods and namespaces, and selectors that tell them apart in every way.
LABELS: list[dict[str, str]] = [{}, {"app": "web"}, {"app": "db"}, {"app": "web", "tier": "x"}, {"tier": "y"}]
SELECTORS: list[dict[str, Any]] = [
    {},
    {"matchLabels": {"app": "web"}},
    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]},
    {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]},
    {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}], "matchLabels": {"app": "web"}},
]
NAMED = {"name": "http", "containerPort": 80}


def namespace(name: str, labels: dict[str, str] | None = None) -> Any:
    return make(kinds.NAMESPACE, name, meta={"labels": {"kubernetes.io/metadata.name": name, **(labels or {})}})


def running(
    name: str, *, ip: str = "10.244.1.1", where: str = "n2", space: str = "a", labels: dict[str, str] | None = None, **spec: Any
) -> Any:  # fmt: skip
    made = pod(name, namespace=space, meta={"labels": labels or {}}, nodeName=where, **spec)
    made.status.phase = "Running"
    made.status.podIP = ip
    made.status.podIPs.add(ip=ip)
    made.spec.containers[0].ports.add(**NAMED)
    return made


def policy(name: str = "web", *peers: Any, space: str = "a", ports: Any = (), types: Any = ("Ingress",)) -> Any:
    """Peers of ingress, or of egress as `types` has it; a text is a label selector of pods by their `app`."""
    found = [{"podSelector": {"matchLabels": {"app": item}}} if isinstance(item, str) else item for item in peers]
    spec = {"policyTypes": list(types), "podSelector": {}}
    spec["egress"] = [{"to": found, "ports": list(ports)}] if "Egress" in types else []
    spec["ingress"] = [{"from": found, "ports": list(ports)}] if "Ingress" in types else []
    return make(kinds.NETWORK_POLICY, name, namespace=space, spec=spec)


def groups(has: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """The groups of an agent's slices: members as addresses and ports."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for key, item in has.items():
        if key.startswith("PolicyGroup/"):
            members = [(tuple(m.podIPs), tuple((p.name, p.protocol, p.port) for p in m.ports)) for m in item.members]
            found.setdefault(key.partition("//")[2].rpartition(".")[0], []).extend(members)
    return {id: sorted(members) for id, members in found.items() if members}


class PolicyAgent(Agent):
    """`policed`: the namespaces of which it was told that it has all policies."""

    def __init__(self) -> None:
        super().__init__()
        self.policed: set[str] = set()

    def apply(self, message: nodes_pb2.Assignment) -> None:
        if message.complete:
            self.policed &= {change.key for change in message.changes} | set(message.following)
        for change in message.changes:
            if change.key.startswith("PolicyNamespace//"):
                (self.policed.add if change.HasField("policyNamespace") else self.policed.discard)(change.key)
        slices = {key: item for key, item in self.has.items() if key.startswith("PolicyGroup/")}
        others = {key: item for key, item in self.has.items() if key not in slices}
        if message.complete:
            kept = {change.key for change in message.changes} | set(message.following)
            slices = {key: item for key, item in slices.items() if key in kept}
        for change in message.changes:
            if change.key.startswith("PolicyGroup/"):
                slices.pop(change.key, None)
                if change.HasField("policyGroup"):
                    slices[change.key] = change.policyGroup
        left = nodes_pb2.Assignment()
        left.CopyFrom(message)
        del left.changes[:]
        left.changes.extend(change for change in message.changes if not change.key.startswith("Policy"))
        self.has = others
        super().apply(left)
        self.has |= slices


def naive(
    world: World, node: str = "n1", named: frozenset[str] = frozenset()
) -> tuple[set[str], dict[str, list[tuple[Any, ...]]]]:  # fmt: skip
    """The policies and the groups of a node that names these namespaces, by a look at everything."""
    rows = world._rows.values()
    pods = [row.message for row in rows if row.kind is kinds.POD]
    labels = {row.message.metadata.name: dict(row.message.metadata.labels) for row in rows if row.kind is kinds.NAMESPACE}
    own = {item.metadata.namespace for item in pods if item.spec.nodeName == node and not item.spec.hostNetwork} | named
    every = [row.message for row in rows if row.kind is kinds.NETWORK_POLICY and row.message.metadata.namespace in own]
    found: dict[str, list[tuple[Any, ...]]] = {}
    names: dict[str, set[str]] = {}
    for row in rows:
        for rule in policypeers.active_rules(row.message) if row.kind is kinds.NETWORK_POLICY else ():
            for peer in _peers(rule) if rule.direction == "Egress" else ():
                id = policypeers.group_id(row.message.metadata.namespace, peer)
                names.setdefault(str(id), set()).update(port.port.strVal for port in rule.ports if port.port.type)
    for item in every:
        for rule in policypeers.active_rules(item):
            for peer in _peers(rule):
                id = str(policypeers.group_id(item.metadata.namespace, peer))
                found[id] = sorted(_member(p, names.get(id, set())) for p in pods if _selects(item, peer, p, labels))
    keys = {f"NetworkPolicy/{item.metadata.namespace}/{item.metadata.name}" for item in every}
    return keys, {id: members for id, members in found.items() if members}


def _peers(rule: Any) -> list[Any]:
    """Those that are pods; all pods where the name of a port may be one of any of them."""
    found = [peer for peer in rule.peers if not peer.HasField("ipBlock")]
    named = rule.direction == "Egress" and any(port.port.type for port in rule.ports)
    if named and (not rule.peers or len(found) < len(rule.peers)):
        found.append(NetworkPolicyPeer(namespaceSelector=LabelSelector()))
    return found


def _member(item: Any, names: set[str]) -> tuple[Any, ...]:
    ports = tuple(("http", "TCP", 80) for _ in "1" if "http" in names)
    return tuple(entry.ip for entry in item.status.podIPs), ports


def _selects(policy: Any, peer: Any, item: Any, labels: dict[str, dict[str, str]]) -> bool:
    if item.spec.hostNetwork or item.status.phase in ("Succeeded", "Failed") or not item.status.podIP:
        return False
    space = item.metadata.namespace
    if peer.HasField("namespaceSelector"):
        if space not in labels or not labelselectors.matches(peer.namespaceSelector, labels[space]):
            return False
    elif space != policy.metadata.namespace:
        return False
    return labelselectors.matches(peer.podSelector, item.metadata.labels)


class Play:
    """A world that changes by drawn numbers, its events on their way to the router, and the agent of node n1."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self.draw = draw
        self.world = World(*map(namespace, NAMESPACES))
        self.events: list[Event] = []
        self.agent = PolicyAgent()
        self.world.router.load(self.world._rows.values())
        self.session = self.world.router.open("n1", lambda: None)
        self.ips = itertools.count(1)
        # As the agent names them.
        self.named = frozenset[str]()

    def pick(self, items: Any) -> Any:
        return items[self.draw(len(items))]

    def write(self) -> None:
        kind = self.draw(4)
        if kind == 0:
            message = namespace(self.pick(NAMESPACES), self.pick(LABELS))
        elif kind == 1:
            message = self.policy()
        else:
            message = self.pod()
        self.events.append(self.world.write(message))

    def pod(self) -> Any:
        name, space, where = self.pick(NAMES), self.pick(NAMESPACES), self.pick(NODES)
        made = running(name, ip=f"10.244.1.{next(self.ips)}", where=where, space=space, labels=self.pick(LABELS))
        made.spec.hostNetwork = self.draw(8) == 0
        made.status.phase = self.pick(("Running", "Running", "Running", "Succeeded"))
        if self.draw(6) == 0:
            made.status.ClearField("podIP")
            made.status.ClearField("podIPs")
        if (old := self.world.row(kinds.POD, kinds.POD.key(space, name))) is not None and self.draw(2):
            # The same pod: only its labels, and whether it runs, have changed.
            made.spec.CopyFrom(old.message.spec)
        else:
            self.remove(made)
        return made

    def policy(self) -> Any:
        peers = [self.peer() for _ in range(self.draw(3))]
        types = self.pick((("Ingress",), ("Egress",), ("Ingress", "Egress")))
        ports = [{"port": "http"}] if self.draw(2) else []
        return policy(self.pick(("x", "y")), *peers, space=self.pick(NAMESPACES), ports=ports, types=types)

    def peer(self) -> dict[str, Any]:
        which = self.draw(4)
        pods, spaces = {"podSelector": self.pick(SELECTORS)}, {"namespaceSelector": self.pick(SELECTORS)}
        return (pods, spaces, {**pods, **spaces}, {"ipBlock": {"cidr": "10.0.0.0/8"}})[which]

    def remove(self, message: Any = None) -> None:
        space = self.pick(NAMESPACES)
        message = message or self.pick((
            running(self.pick(NAMES), space=space), policy(self.pick(("x", "y")), space=space), namespace(space),
        ))  # fmt: skip
        kind = {item.kind: item for item in kinds.ALL}[message.DESCRIPTOR.name]
        if self.world.row(kind, kind.key(message.metadata.namespace, message.metadata.name)) is not None:
            self.events.append(self.world.remove(message))

    def deliver(self) -> None:
        for _ in range(self.draw(4)):
            if self.events:
                self.world.router.take(self.events.pop(0))

    def activate(self) -> None:
        """A piece of the work on policies."""
        for key in list(self.world.router.policies._activations):
            self.world.router.policies._advance(key)

    def send(self) -> None:
        message = next_of(self.session)
        if message is not None:
            self.agent.apply(message)

    def reconnect(self) -> None:
        self.world.router.close(self.session)
        if self.draw(2):
            self.named = self.names()
        self.session = self.world.router.open("n1", lambda: None, static_namespaces=self.named)

    def names(self) -> frozenset[str]:
        return frozenset(item for item in NAMESPACES if not self.draw(3))

    def name(self) -> None:
        self.named = self.names()
        self.world.router.name(self.session, self.named)

    def lose(self) -> None:
        self.events.clear()
        self.world.router.load(self.world._rows.values())

    def step(self) -> None:
        steps = (self.write,) * 8 + (self.remove,) * 3 + (self.deliver,) * 6 + (self.activate,) * 3 + (self.send,) * 5
        self.pick((*steps, self.name, self.reconnect, self.lose))()

    def finish(self) -> None:
        while self.events:
            self.world.router.take(self.events.pop(0))
        while self.world.router.policies._activations:
            self.activate()
        while (message := next_of(self.session)) is not None:
            self.agent.apply(message)


@pytest.mark.parametrize("small", [True, False], ids=["in pieces", "at once"])
@settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 200))
def test_an_agent_has_the_policies_of_its_pods_and_the_pods_of_their_peers(
    monkeypatch: pytest.MonkeyPatch, seed: int, steps: int, *, small: bool
) -> None:
    """As a look at everything has it, whatever changes in whichever order; with slices and pauses after each item as well."""
    monkeypatch.setattr(policymembers, "STEP", 1 if small else 500)
    monkeypatch.setattr(policygroups, "MAX_MEMBERS", 2 if small else 100)
    play = Play(random.Random(seed).randrange)
    for _ in range(steps):
        play.step()
    play.finish()
    keys, members = naive(play.world, named=play.named)
    assert play.agent.policed == {f"PolicyNamespace//{item}" for item in play.named}
    assert {key for key in play.agent.has if key.startswith("NetworkPolicy/")} == keys
    assert groups(play.agent.has) == members
    play.world.router.close(play.session)
    assert not play.world.router._followers


def test_policies_come_before_the_first_pod_of_their_namespace() -> None:
    """After their groups, so that a new pod is isolated from its start, and no peer of it is missing."""
    world = World(
        namespace("a"), policy("web", "db"), running("db", labels={"app": "db"}), running("own", where="n1", space="b")
    )
    assert told(world.start()) == ["Pod/b/own", "Namespace//a"]
    [group] = policypeers.groups_of(policy("web", "db"))
    assert told(world.put(running("new", where="n1"))) == [f"PolicyGroup//{group}.0", "NetworkPolicy/a/web", "Pod/a/new"]
    assert told(world.put(running("more", where="n1"))) == ["Pod/a/more"]
    assert told(world.put(policy("second"))) == ["NetworkPolicy/a/second"]


def test_policies_of_namespaces_of_static_pods_need_no_mirror_pod() -> None:
    """The agent is told when it has all of them; they stay without its mirror pods, as long as it names the namespace."""
    mirror, deny = running("static", where="n1"), policy("web", "db")
    world = World(namespace("a"), deny, running("db", labels={"app": "db"}))
    world.start()
    [group] = policypeers.groups_of(deny)
    has, known = [f"PolicyGroup//{group}.0", "NetworkPolicy/a/web"], "PolicyNamespace//a"

    def name(*namespaces: str) -> list[str]:
        world.router.name(world.assignment, frozenset(namespaces))
        return told(world.step())

    assert name("a", "unused") == [*has, known, "PolicyNamespace//unused"]
    assert told(world.put(mirror)) == ["Pod/a/static"]
    assert told(world.drop(mirror)) == ["-Pod/a/static"]
    assert told(world.put(policy("second"))) == ["NetworkPolicy/a/second"]
    assert told(world.drop(policy("second"))) == ["-NetworkPolicy/a/second"]
    assert name() == ["-NetworkPolicy/a/web", f"-PolicyGroup//{group}.0", f"-{known}", "-PolicyNamespace//unused"]
    assert name("a") == [*has, known]


def test_a_session_begins_with_the_policies_of_namespaces_of_static_pods() -> None:
    """Its complete assignment has or announces them, so that the agent keeps what it has; an agent that names more gets no more
    than the bound."""
    world = World(namespace("a"), policy("web", "db"), running("db", labels={"app": "db"}))
    world.router.load(world._rows.values())
    assignment = world.router.open("n1", lambda: None, static_namespaces=frozenset("a"))
    message = next_of(assignment)
    assert message is not None
    [group] = policypeers.groups_of(policy("web", "db"))
    keys = {f"PolicyGroup//{group}.0", "NetworkPolicy/a/web", "PolicyNamespace//a"}
    assert keys <= {change.key for change in message.changes} | set(message.following)
    assert len(nodepolicies.accepted(f"n{number}" for number in range(1000))) == nodepolicies.MAX_NAMESPACES
    assert nodepolicies.accepted(["../a", "a/b", "", "b"]) == {"b"}


def test_policies_leave_with_the_last_pod_of_their_namespace() -> None:
    """With the groups that nothing else on the node names."""
    first, second = running("one", where="n1"), running("two", where="n1")
    world = World(namespace("a"), policy("web", "db"), running("db", labels={"app": "db"}), first, second)
    world.start()
    [group] = policypeers.groups_of(policy("web", "db"))
    assert told(world.drop(first)) == ["-Pod/a/one"]
    assert told(world.drop(second)) == ["-Pod/a/two", "-NetworkPolicy/a/web", f"-PolicyGroup//{group}.0"]
    assert told(world.put(running("db", ip="10.244.1.9", labels={"app": "db"}))) == []


def test_a_node_never_learns_of_pods_that_no_policy_of_its_pods_selects() -> None:
    """Nor of policies of other namespaces, nor of ports that no policy names."""
    peer = {"namespaceSelector": {}}
    world = World(
        namespace("a"), namespace("b"), policy("web", "db"), policy("all", peer, space="b"), running("mine", where="n1"),
        running("db", ip="10.244.1.2", labels={"app": "db"}), running("other", ip="10.244.1.3"),
        running("far", ip="10.244.1.4", labels={"app": "db"}, space="b"),
    )  # fmt: skip
    changes = [change for change in world.start() if change.HasField("policyGroup")]
    assert [list(change.policyGroup.members) for change in changes] == [[nodes_pb2.PolicyGroupMember(podIPs=["10.244.1.2"])]]


def test_a_pod_costs_a_slice_of_its_group() -> None:
    """Of a group of 10,000 pods: not the whole group again; and messages stay within their bounds."""
    pods = [running(f"p{n}", ip=f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", labels={"app": "db"}) for n in range(10_000)]
    world = World(namespace("a"), policy("web", "db"), running("mine", where="n1"), *pods)
    world.assignment = world.open()
    messages = list(iter(lambda: next_of(world.assignment), None))
    assert max(message.ByteSize() for message in messages) < 4 << 20
    has = [change for message in messages for change in message.changes if change.HasField("policyGroup")]
    assert sum(len(change.policyGroup.members) for change in has) == 10_000
    [change] = world.put(running("new", ip="10.250.0.1", labels={"app": "db"}))
    assert change.ByteSize() < 10_000
    [change] = world.drop(pods[17])
    assert change.ByteSize() < 10_000


def test_a_group_that_was_gone_for_a_moment_has_no_old_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy was deleted and made again before the agent learned of that, and meanwhile it has shrunk."""
    monkeypatch.setattr(policygroups, "MAX_MEMBERS", 2)
    pods = [running(f"p{n}", ip=f"10.1.0.{n}", labels={"app": "db"}) for n in range(6)]
    # With another policy, for which the pods of the namespace stay known.
    world = World(namespace("a"), policy("web", "db"), policy("other", "none"), running("mine", where="n1"), *pods)
    agent = PolicyAgent()
    assignment = world.open()
    while (message := next_of(assignment)) is not None:
        agent.apply(message)
    assert [len(members) for members in groups(agent.has).values()] == [6]
    world.router.take(world.remove(policy("web", "db")))
    for item in pods[1:]:
        world.router.take(world.remove(item))
    world.router.take(world.write(policy("web", "db")))
    while (message := next_of(assignment)) is not None:
        agent.apply(message)
    assert [[ips for ips, _ in members] for members in groups(agent.has).values()] == [[("10.1.0.0",)]]


def test_a_group_that_fails_holds_back_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor pods: the policy comes without it, and so allows less."""
    world = World(namespace("a"), running("db", labels={"app": "db"}), policy("web", "db"))
    world.start()

    def since(self: Group, version: int) -> Any:
        raise ValueError("bad")

    monkeypatch.setattr(Group, "since", since)
    assert told(world.put(running("mine", where="n1"))) == ["NetworkPolicy/a/web", "Pod/a/mine"]


def test_places_of_pods_that_are_gone_are_used_again() -> None:
    """A group whose pods come and go has no more slices than it needs."""
    group = Group("g", next(iter(policypeers.groups_of(policy("web", "db")).values())), itertools.count(1).__next__)
    facts = Facts({}, ("10.0.0.1",), ())
    for number in range(1000):
        group.put(f"p{number}", facts)
        if number >= 150:
            assert group.remove(f"p{number - 150}")
    assert group.slices == 2


def test_named_ports_are_sent_where_egress_names_them() -> None:
    """And no longer once no policy does."""
    world = World(namespace("a"), running("mine", where="n1"), running("db", labels={"app": "db"}), policy("x", "db"))
    [change, *_] = world.start()
    assert not change.policyGroup.members[0].ports
    named = policy("y", "db", types=("Egress",), ports=[{"port": "http"}])
    changes = world.put(named)
    assert {change.key.partition("/")[0] for change in changes} == {"PolicyGroup", "NetworkPolicy"}
    [change] = [change for change in changes if change.HasField("policyGroup")]
    assert list(change.policyGroup.members[0].ports) == [nodes_pb2.NamedPort(name="http", protocol="TCP", port=80)]
    changes = world.drop(named)
    [change] = [change for change in changes if change.HasField("policyGroup")]
    assert not change.policyGroup.members[0].ports


def test_a_policy_that_cannot_be_evaluated_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the rest continues."""
    world = World(namespace("a"), running("mine", where="n1"))
    world.start()
    real = PolicyTable.activate

    def activate(self: PolicyTable, key: str) -> Any:
        if key.endswith("bad"):
            raise ValueError("bad")
        return (yield from real(self, key))

    monkeypatch.setattr(PolicyTable, "activate", activate)
    world.write(policy("bad"))
    world.router.load(world._rows.values())
    assert told(world.put(policy("bad"), policy("good"))) == ["NetworkPolicy/a/good"]


def test_a_policy_with_many_groups_pauses() -> None:
    """Each look at a pod counts, in whichever namespace: others are served in between."""
    pods = [running(f"p{n}", ip=f"10.1.0.{n}", space=f"s{n % 50}") for n in range(200)]
    peers = [
        {"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": f"k{n}", "operator": "DoesNotExist"}]}}
        for n in range(40)
    ]
    world = World(*(namespace(f"s{n}") for n in range(50)), *pods, policy("large", *peers, space="s0"))
    key = kinds.NETWORK_POLICY.key("s0", "large")
    table = PolicyTable(world)
    for n in range(50):
        table.take_namespace(f"s{n}")
    looked, pauses = 0, []
    real = policypeers.PeerSelector.selects_labels

    def counting(self: Any, labels: Any) -> bool:
        nonlocal looked
        looked += 1
        return real(self, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policypeers.PeerSelector, "selects_labels", counting)
        for _ in table.activate(key):
            pauses.append(looked)
            looked = 0
    assert len(pauses) > 40 * 200 // policymembers.STEP
    # With as many candidates for each of the pods that become known on the way.
    assert max(pauses) <= policymembers.STEP * 2
    assert table.policy(key) is not None


def test_a_policy_whose_groups_are_too_large_has_fewer_of_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that are left out select no pods, and the policy is enforced: nothing is allowed that it does not allow."""
    monkeypatch.setattr(policies, "MAX_POLICY_MEMBERS", 3)
    pods = [running(f"p{n}", ip=f"10.1.0.{n}", labels={"app": "web", "n": str(n)}) for n in range(5)]
    peers = [{"podSelector": {}}, *({"podSelector": {"matchLabels": {"n": str(n)}}} for n in range(5))]
    world = World(namespace("a"), *pods, running("mine", where="n1"), policy("large", *peers))
    agent = PolicyAgent()
    assignment = world.open()
    while (message := next_of(assignment)) is not None:
        agent.apply(message)
    assert "NetworkPolicy/a/large" in agent.has
    assert [len(members) for members in groups(agent.has).values()] == [6]
    assert "policy_too_large" in caplog.text
    assert "left_out=5" in caplog.text


def test_a_pod_that_cannot_be_read_is_in_no_group() -> None:
    """And keeps no policy from becoming active."""
    world = World(namespace("a"), running("mine", where="n1"), running("db", labels={"app": "db"}))
    broken = StoredObject(kinds.POD, kinds.POD.key("a", "bad"), b"\xff\xff", 2)
    world.start()
    world._rows[broken.key] = broken
    assert told(world.put(policy("web", "db")))[-1] == "NetworkPolicy/a/web"


def test_a_change_costs_what_it_changes() -> None:
    """One pod of 5,000, with 1,000 policies of it: as many selectors are evaluated as groups are touched, not as there are."""
    spaces = [f"s{n}" for n in range(100)]
    pods = [
        running(f"p{n}", ip=f"10.1.{n >> 8}.{n & 255}", space=spaces[n % 100], labels={"app": f"app{n // 100}"})
        for n in range(5000)
    ]  # fmt: skip
    peers = [
        {"podSelector": {"matchLabels": {"app": f"app{n % 50}"}}, "namespaceSelector": {"matchLabels": {"team": f"t{n % 20}"}}}
        for n in range(1000)
    ]  # fmt: skip
    every = [policy(f"w{n}", peers[n], f"app{n % 50}", space=spaces[n % 100]) for n in range(1000)]
    world = World(*(namespace(name, {"team": f"t{n % 20}"}) for n, name in enumerate(spaces)), *pods, *every)
    world.router.load(world._rows.values())
    table = world.router.policies.table
    looked = 0

    def counting(self: Any, labels: Any) -> bool:
        nonlocal looked
        looked += 1
        return all(requirement.matches(labels) for requirement in self.pods)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policypeers.PeerSelector, "selects_labels", counting)
        moved = running("p7", ip="10.1.0.7", space="s7", labels={"app": "app7"})
        world.write(moved)
        changed = table.take_pod(kinds.POD.key("s7", "p7"))
        assert changed
        assert looked <= len(changed) <= 4
        looked = 0
        world.write(namespace("s7", {"team": "t8"}))
        changed = table.take_namespace("s7")
        assert changed
        # The 50 pods of the namespace enter or leave groups; no other pod is looked at.
        assert looked <= 50 * 10


def test_an_address_that_a_pod_cannot_have_on_its_node_is_in_no_group() -> None:
    """Or a node could have another's traffic allowed. A pod that has one of its own besides is a member with that."""
    node = make(kinds.NODE, "n2", spec={"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]})
    both = running("both", ip="10.244.1.2", labels={"app": "db"})
    both.status.podIPs.add(ip="fd00::9")
    world = World(
        namespace("a"), node, policy("web", "db"), running("mine", where="n1"), both,
        running("foreign", ip="192.0.2.9", labels={"app": "db"}),
    )  # fmt: skip
    changes = [change for change in world.start() if change.HasField("policyGroup")]
    assert [list(change.policyGroup.members) for change in changes] == [[nodes_pb2.PolicyGroupMember(podIPs=["10.244.1.2"])]]
