"""Random clusters for property tests: nodes and pods from small sets, so that they meet, with numbers at every limit."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from controlplane.scheduler.nodeinfo import NodeInfo, Taint
from controlplane.scheduler.podinfo import LIMIT, PodInfo, Toleration
from controlplane.scheduler.podselectors import Part, PodLabels, PodSelector, PodTerm
from controlplane.scheduler.podterms import PodTerms
from controlplane.scheduler.spread import SpreadConstraint
from pinnace import nodeselectors
from pinnace.hostports import HostPort
from pinnace.nodeselectors import Term
from pinnace.selectors import Requirement
from pinnace.wellknown import LABEL_HOSTNAME

NODES = tuple(f"n{i}" for i in range(5))
PODS = tuple(f"default/p{i}" for i in range(8))
PAIRS = (("disk", "ssd"), ("zone", "a"), ("zone", "b"), ("cores", "4"), ("cores", "16"))
# Values of which some are numbers.
KEYS, VALUES = ("disk", "zone", "cores"), ("ssd", "a", "b", "4", "16")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

amounts = st.one_of(st.integers(0, 8), st.sampled_from((0, 1, 1000, 1 << 32, (1 << 53) + 1, LIMIT - 1, LIMIT)))
taints = st.lists(st.builds(Taint, st.sampled_from("kl"), st.sampled_from("vw"), st.sampled_from(EFFECTS)), max_size=2)
plain_nodes = st.builds(
    NodeInfo,
    st.sampled_from(NODES),
    st.tuples(amounts, amounts, amounts, st.integers(0, 5)),
    st.booleans(),
    taints.map(tuple),
    # A key has one value.
    st.lists(st.sampled_from(PAIRS), unique_by=lambda pair: pair[0]).map(frozenset),
)
nodes = plain_nodes.map(lambda info: dataclasses.replace(info, labels=info.labels | {(LABEL_HOSTNAME, info.name)}))
tolerations = st.builds(
    Toleration, st.sampled_from(("k", "l", "")), st.sampled_from(("Exists", "Equal")), st.sampled_from("vw"),
    st.sampled_from((*EFFECTS, "")),
)  # fmt: skip
host_ports = st.builds(
    HostPort, st.sampled_from(("", "192.0.2.1", "192.0.2.2")), st.sampled_from(("TCP", "UDP")), st.sampled_from((80, 81))
)

values = st.lists(st.sampled_from(VALUES), min_size=1, max_size=2).map(tuple)
expressions = st.one_of(
    st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from(("In", "NotIn")), values),
    st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from(("Exists", "DoesNotExist"))),
    st.builds(
        Requirement, st.sampled_from(KEYS), st.sampled_from(("Gt", "Lt")), st.sampled_from(VALUES).map(lambda one: (one,))
    ),
)
fields = st.builds(
    Requirement, st.just(nodeselectors.NAME), st.sampled_from(("In", "NotIn")), st.sampled_from(NODES).map(lambda one: (one,))
)
terms = st.builds(Term, st.lists(expressions, max_size=2).map(tuple), st.lists(fields, max_size=1).map(tuple))

NAMESPACES = {"default": {"team": "a"}, "other": {"team": "b"}}
# Of pods: labels, and what selects them.
LABELS = st.sampled_from(((), (("app", "x"),), (("app", "y"),), (("app", "x"), ("tier", "z"))))
pod_requirements = st.one_of(
    st.builds(Requirement, st.just("app"), st.sampled_from(("In", "NotIn")), st.sampled_from((("x",), ("y",), ("x", "y")))),
    st.builds(Requirement, st.sampled_from(("app", "tier")), st.sampled_from(("Exists", "DoesNotExist"))),
)
requirement_lists = st.lists(pod_requirements, max_size=2).map(tuple)
team = st.builds(Requirement, st.just("team"), st.sampled_from(("In", "NotIn")), st.sampled_from((("a",), ("b",))))
parts = st.builds(
    Part, st.sets(st.sampled_from(tuple(NAMESPACES)), max_size=2).map(frozenset),
    st.one_of(st.none(), st.none(), st.lists(team, max_size=1).map(tuple)), st.one_of(requirement_lists, st.none()),
)  # fmt: skip
pod_terms = st.builds(PodTerm, parts.map(lambda part: PodSelector((part,))), st.sampled_from(("zone", "disk", "absent")))
required = st.lists(pod_terms, max_size=2).map(tuple)
own_terms = st.builds(
    PodTerms, required, required, st.lists(st.tuples(st.sampled_from((1, -100)), pod_terms), max_size=2).map(tuple)
)
own_parts = st.builds(Part, st.just(frozenset({"default"})), st.none(), requirement_lists)
spreads = st.builds(
    SpreadConstraint, st.sampled_from(("zone", "disk", "kubernetes.io/hostname")),
    own_parts.map(lambda part: PodSelector((part,), terminating=False)), st.integers(1, 2), st.integers(1, 3), st.booleans(),
    st.booleans(), st.booleans(),
)  # fmt: skip

# Clusters in which pods decide and nothing else: nodes in few domains, and pods with little to ask for but each other.
roomy_nodes = st.builds(
    lambda name, taints, unschedulable, zone, disk: NodeInfo(
        name, (8, 8, 8, 8), unschedulable, taints, frozenset({(LABEL_HOSTNAME, name), *zone, *disk})
    ),
    st.sampled_from(NODES), st.sampled_from(((), (), (Taint("k", "v", "NoSchedule"),))), st.sampled_from((False, False, True)),
    st.sampled_from(((("zone", "a"),), (("zone", "b"),), (("zone", "b"),), ())), st.sampled_from(((("disk", "ssd"),), ())),
)  # fmt: skip
near_parts = st.builds(
    Part, st.sampled_from((frozenset({"default"}), frozenset(), frozenset(NAMESPACES))),
    st.sampled_from((None, (), (Requirement("team", "In", ("b",)),))),
    st.sampled_from(((Requirement("app", "In", ("x",)),), (Requirement("app", "NotIn", ("x",)),), (), None)),
)  # fmt: skip
near_terms = st.builds(
    PodTerm, near_parts.map(lambda part: PodSelector((part,))), st.sampled_from(("zone", "disk", LABEL_HOSTNAME))
)
few_terms = st.lists(near_terms, max_size=2).map(tuple)
near_spreads = st.builds(
    SpreadConstraint, st.sampled_from(("zone", LABEL_HOSTNAME)),
    st.sampled_from(((Requirement("app", "In", ("x",)),), ())).map(
        lambda found: PodSelector((Part(frozenset({"default"}), None, found),), terminating=False)
    ),
    st.integers(1, 2), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
social_pods = st.builds(
    PodInfo, key=st.sampled_from(tuple(f"default/p{i}" for i in range(12))), uid=st.just("u"),
    labels=st.builds(PodLabels, st.sampled_from(("default", "default", "other")), LABELS, st.sampled_from((False, False, True))),
    node_selector=st.sampled_from(((), (), (("disk", "ssd"),))), node=st.sampled_from(NODES),
    tolerations=st.sampled_from(((), (Toleration("k", "Exists", "", ""),))),
    terms=st.one_of(
        st.none(),
        st.builds(PodTerms, few_terms, few_terms, st.lists(st.tuples(st.sampled_from((3, -5)), near_terms), max_size=2).map(tuple)),
    ),
    spread=st.lists(near_spreads, max_size=2, unique_by=lambda item: (item.key, item.hard)).map(tuple),
)  # fmt: skip


def pods(on: tuple[str, ...]) -> st.SearchStrategy[PodInfo]:
    """Pods that are on one of these nodes; `("",)` for pods that wait."""
    return st.builds(
        PodInfo,
        key=st.sampled_from(PODS),
        uid=st.just("u"),
        requests=st.tuples(amounts, amounts, amounts, st.just(1)),
        priority=st.sampled_from((-(1 << 31), 0, (1 << 31) - 1)),
        created=st.integers(0, 2),
        group=st.sampled_from(("g", "h")),
        node_selector=st.sets(st.sampled_from(PAIRS), max_size=2).map(lambda pairs: tuple(sorted(pairs))),
        node_terms=st.one_of(st.none(), st.lists(terms, max_size=2).map(tuple)),
        preferred_nodes=st.lists(st.tuples(st.sampled_from((1, 100)), terms), max_size=2).map(tuple),
        labels=st.builds(
            PodLabels, st.sampled_from(tuple(NAMESPACES)), LABELS, st.booleans() if on != ("",) else st.just(False)
        ),
        terms=st.one_of(st.none(), own_terms),
        spread=st.lists(spreads, max_size=2, unique_by=lambda item: (item.key, item.hard)).map(tuple),
        tolerations=st.lists(tolerations, max_size=2).map(tuple),
        host_ports=st.lists(host_ports, max_size=2, unique=True).map(tuple),
        node=st.sampled_from(on),
    )
