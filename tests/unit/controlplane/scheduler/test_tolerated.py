"""The index of tolerations agrees with the one rule for tolerations."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.scheduler.nodeinfo import Taint
from controlplane.scheduler.podinfo import Toleration
from controlplane.scheduler.tolerated import Tolerated
from pinnace.taints import tolerates

KEYS, VALUES = (
    st.sampled_from(("a", "b", "")),
    st.sampled_from(("", "v", "1", "2", "-3", "007", "9" * 30, "9223372036854775807")),
)
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")
taints = st.builds(Taint, KEYS, VALUES, st.sampled_from(EFFECTS))
tolerations = st.builds(
    Toleration, KEYS, st.sampled_from(("", "Equal", "Exists", "Gt", "Lt", "In")), VALUES, st.sampled_from((*EFFECTS, ""))
)


@given(st.lists(tolerations, max_size=5), taints)
@example(
    [Toleration("a", "Gt", "5", ""), Toleration("a", "Gt", "1", ""), Toleration("a", "Gt", "9", "")],
    Taint("a", "3", "NoExecute"),
)
def test_any_number_of_tolerations_is_one_lookup(items: list[Toleration], taint: Taint) -> None:
    """Whatever the operators, wildcards and values."""
    assert Tolerated(items).includes(taint) == any(tolerates(item, taint) for item in items)
