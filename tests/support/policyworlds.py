"""Random clusters with NetworkPolicies, as users write them and as a node's agent gets them.

Small sets of labels, ports and addresses, so that selectors, ranges and blocks overlap often. `policyreference` has the answer for
any packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from nodeagent.network.policies import reader
from nodeagent.network.policies.compiler import Changes
from nodeagent.network.policies.model import Group, Pod, PodPort
from pinnace import codec, rules
from pinnace.admission import networkpolicies
from pinnace.networking.v1.networkpolicy_pb2 import NetworkPolicy
from pinnace.policypeers import PeerSelector, groups_of

K, V = TypeVar("K"), TypeVar("V")
OUTSIDE = "198.51.100.7", "10.9.0.1", "2001:db8::9"
PORTS = 79, 80, 81, 82, 8080
_NAMES = "web", "dns"


@dataclass(frozen=True)
class World:
    """Namespaces with their labels, pods by UID, and specs of policies, as manifests have them, by namespace and name. Pods in
    `local` are on this node."""

    namespaces: Mapping[str, Mapping[str, str]]
    pods: Mapping[str, Pod]
    policies: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    local: frozenset[str] = frozenset()

    def groups(self) -> dict[str, dict[str, tuple[PodPort, ...]]]:
        """Of all policies, resolved by the labels: ports by address."""
        selectors = dict[str, PeerSelector]()
        for key, spec in self.policies.items():
            selectors |= groups_of(stored(*key, spec))
        return {name: dict(self._members(selector)) for name, selector in selectors.items()}

    def _members(self, selector: PeerSelector) -> Iterator[tuple[str, tuple[PodPort, ...]]]:
        for pod in self.pods.values():
            if selector.selects_namespace(pod.namespace, self.namespaces[pod.namespace]) and selector.selects_labels(
                pod.labels
            ):
                yield from ((address, pod.ports) for address in pod.addresses)

    def slices(self) -> dict[str, Group]:
        """The groups as a dispatcher sends them, each in up to two parts."""
        found: dict[str, dict[str, tuple[PodPort, ...]]] = {}
        for name, members in self.groups().items():
            for address, ports in members.items():
                found.setdefault(f"{name}.{ord(address[-1]) % 2}", {})[address] = ports
        return dict(found)

    def changes(self) -> Changes:
        """All of it, for a node that knows nothing."""
        return Changes(
            {key: reader.policy(stored(*key, spec)) for key, spec in self.policies.items()},
            self.slices(),
            {uid: pod for uid, pod in self.pods.items() if uid in self.local},
        )

    def changes_from(self, old: World) -> Changes:
        """The difference, as an agent gets it."""
        new, before = self.changes(), old.changes()
        return Changes(
            _changed(before.policies, new.policies), _changed(before.slices, new.slices), _changed(before.pods, new.pods)
        )


def _changed(old: Mapping[K, V], new: Mapping[K, V]) -> dict[K, V | None]:
    return {key: new.get(key) for key in {*old, *new} if old.get(key) != new.get(key)}


_labels = st.fixed_dictionaries({}, optional={"app": st.sampled_from("abc"), "tier": st.sampled_from("xy")})
_expression = st.fixed_dictionaries({"key": st.sampled_from(("app", "tier", "kubernetes.io/metadata.name"))}).flatmap(
    lambda found: st.one_of(
        st.fixed_dictionaries(
            {
                "operator": st.sampled_from(("In", "NotIn")),
                "values": st.lists(st.sampled_from("abcxyz"), min_size=1, max_size=2),
            }
        ),
        st.fixed_dictionaries({"operator": st.sampled_from(("Exists", "DoesNotExist"))}),
    ).map(lambda rest: {**found, **rest})
)
_expressions = st.lists(_expression, min_size=1, max_size=2)
_selector = st.one_of(
    st.just({}), _labels.map(lambda labels: {"matchLabels": labels}),
    _expressions.map(lambda found: {"matchExpressions": found}),
    st.builds(lambda labels, found: {"matchLabels": labels, "matchExpressions": found}, _labels, _expressions),
)  # fmt: skip
_BLOCKS = (
    ("0.0.0.0/0", ("10.0.0.0/8", "10.0.0.0/30", "198.51.100.0/24")), ("10.0.0.0/8", ("10.0.0.4/30", "10.9.0.0/16")),
    ("10.0.0.0/29", ("10.0.0.2/32", "10.0.0.3/32")), ("10.0.0.2/32", ()), ("198.51.100.7/32", ()), ("::/0", ("2001:db8::/64",)),
    ("fd00::/125", ("fd00::2/128",)),
)  # fmt: skip
_block = st.sampled_from(_BLOCKS).flatmap(
    lambda found: (
        st.lists(st.sampled_from(found[1]), max_size=2, unique=True).map(
            lambda excepts: {"ipBlock": {"cidr": found[0], **({"except": excepts} if excepts else {})}}
        )
        if found[1]
        else st.just({"ipBlock": {"cidr": found[0]}})
    )
)
_peer = st.one_of(
    _selector.map(lambda found: {"podSelector": found}),
    _selector.map(lambda found: {"podSelector": found, "namespaceSelector": None}),
    _selector.map(lambda found: {"namespaceSelector": found}),
    st.tuples(_selector, _selector).map(lambda found: {"podSelector": found[0], "namespaceSelector": found[1]}),
    _block,
)
_port = st.tuples(
    st.one_of(st.just({}), st.sampled_from(("TCP", "UDP", "SCTP")).map(lambda name: {"protocol": name})),
    st.one_of(
        st.just({}),
        st.sampled_from(_NAMES).map(lambda name: {"port": name}),
        st.sampled_from(PORTS).map(lambda number: {"port": number}),
        st.tuples(st.sampled_from((1, *PORTS)), st.sampled_from((0, 1, 2, 3, 20, 5000))).map(
            lambda found: {"port": found[0], "endPort": found[0] + found[1]}
        ),
    ),
).map(lambda found: {**found[0], **found[1]})


def _listed(name: str, items: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """A field with a list of some items, or with none in every way to write that."""
    some = st.lists(items, min_size=1, max_size=most).map(lambda found: {name: found})
    none = st.sampled_from(({}, {name: None}, {name: []}))
    return st.one_of(some, some, none)


def _rule(peers: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda *parts: {**parts[0], **parts[1]}, _listed(peers, _peer, 2), _listed("ports", _port, 3))


_spec = st.builds(
    lambda *parts: {key: value for part in parts for key, value in part.items()},
    st.one_of(st.just({}), _selector.map(lambda found: {"podSelector": found})),
    _listed("ingress", _rule("from"), 2),
    _listed("egress", _rule("to"), 2),
    st.sampled_from(
        ({}, {"policyTypes": []}, *({"policyTypes": types} for types in (["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    ),
)
# Of one direction, with one peer or none, and one port or none: no other rule hides how a field is read.
_plain_spec = st.sampled_from((("ingress", "from"), ("egress", "to"))).flatmap(
    lambda found: st.builds(
        lambda *parts: {found[0]: [{**parts[0], **parts[1]}], **parts[2]},
        _listed(found[1], st.one_of(_peer, _block), 1),
        _listed("ports", _port, 1),
        st.sampled_from(({}, {"policyTypes": [found[0].capitalize()]})),
    )
)
_pod_ports = st.lists(
    st.builds(PodPort, st.sampled_from(("tcp", "udp")), st.sampled_from(_NAMES), st.sampled_from(PORTS)),
    max_size=2,
    unique=True,
).map(lambda found: tuple(sorted(found)))
NAMESPACES = "x", "y", "z"


def message(namespace: str, name: str, spec: object) -> NetworkPolicy:
    text = {"metadata": {"namespace": namespace, "name": name}, "spec": spec}
    return codec.decode(NetworkPolicy, text)


def stored(namespace: str, name: str, spec: object) -> NetworkPolicy:
    """As the API admits it, with its defaults."""
    found = message(namespace, name, spec)
    rules.apply_defaults(found)
    networkpolicies.RULES.default(found)
    assert not [*rules.validate(found), *networkpolicies.RULES.validate(found)], spec
    return found


def worlds() -> st.SearchStrategy[World]:
    """Eight pods in three namespaces, about half of them local, some with an address of each family; up to five policies, or one
    with a single rule."""
    return st.one_of(_worlds(_spec, 0, 5), _worlds(_plain_spec, 1, 1))


@st.composite
def _worlds(draw: st.DrawFn, specs: st.SearchStrategy[Any], least: int, most: int) -> World:
    namespaces = {name: {"kubernetes.io/metadata.name": name, **draw(_labels)} for name in NAMESPACES}
    pods = {}
    for number in range(1, 9):
        addresses = (f"10.0.0.{number}", f"fd00::{number}") if draw(st.booleans()) else (f"10.0.0.{number}",)
        pods[str(number)] = Pod(draw(st.sampled_from(NAMESPACES)), draw(_labels), addresses, draw(_pod_ports))
    names = st.tuples(st.sampled_from(NAMESPACES), st.sampled_from("12"))
    policies = {key: draw(specs) for key in draw(st.lists(names, min_size=least, max_size=most, unique=True))}
    return World(namespaces, pods, policies, frozenset(uid for uid in pods if draw(st.booleans())))


@st.composite
def histories(draw: st.DrawFn) -> list[World]:
    """A world, and some that follow from it by one change each."""
    found = [draw(worlds())]
    for _ in range(draw(st.integers(1, 5))):
        found.append(_next(draw, found[-1]))
    return found


def _next(draw: st.DrawFn, world: World) -> World:
    key, uid = (draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from("12"))), draw(st.sampled_from(sorted(world.pods)))
    match draw(st.sampled_from(("policy", "no policy", "pod", "namespace", "local", "gone"))):
        case "policy":
            return replace(world, policies={**world.policies, key: draw(_spec)})
        case "no policy":
            return replace(world, policies={name: item for name, item in world.policies.items() if name != key})
        case "pod":
            changed = replace(world.pods[uid], labels=draw(_labels), ports=draw(_pod_ports))
            return replace(world, pods={**world.pods, uid: changed})
        case "namespace":
            labels = {"kubernetes.io/metadata.name": key[0], **draw(_labels)}
            return replace(world, namespaces={**world.namespaces, key[0]: labels})
        case "local":
            return replace(world, local=world.local ^ {uid})
    rest = {name: item for name, item in world.pods.items() if name != uid or len(world.pods) == 1}
    return replace(world, pods=rest, local=world.local & rest.keys())
