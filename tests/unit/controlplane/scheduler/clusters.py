"""Random clusters for property tests: nodes and pods from small sets, so that they meet, with numbers at every limit."""

from __future__ import annotations

from hypothesis import strategies as st

from controlplane.scheduler.nodeinfo import NodeInfo, Taint
from controlplane.scheduler.podinfo import LIMIT, PodInfo, Toleration
from pinnace import nodeselectors
from pinnace.hostports import HostPort
from pinnace.nodeselectors import Term
from pinnace.selectors import Requirement

NODES = tuple(f"n{i}" for i in range(5))
PODS = tuple(f"default/p{i}" for i in range(8))
PAIRS = (("disk", "ssd"), ("zone", "a"), ("zone", "b"), ("cores", "4"), ("cores", "16"))
# Values of which some are numbers.
KEYS, VALUES = ("disk", "zone", "cores"), ("ssd", "a", "b", "4", "16")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

amounts = st.one_of(st.integers(0, 8), st.sampled_from((0, 1, 1000, 1 << 32, (1 << 53) + 1, LIMIT - 1, LIMIT)))
taints = st.lists(st.builds(Taint, st.sampled_from("kl"), st.sampled_from("vw"), st.sampled_from(EFFECTS)), max_size=2)
nodes = st.builds(
    NodeInfo,
    st.sampled_from(NODES),
    st.tuples(amounts, amounts, amounts, st.integers(0, 5)),
    st.booleans(),
    taints.map(tuple),
    # A key has one value.
    st.lists(st.sampled_from(PAIRS), unique_by=lambda pair: pair[0]).map(frozenset),
)
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
        tolerations=st.lists(tolerations, max_size=2).map(tuple),
        host_ports=st.lists(host_ports, max_size=2, unique=True).map(tuple),
        node=st.sampled_from(on),
    )
