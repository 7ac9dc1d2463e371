"""Autoscalers that share pods are those that a comparison of all with all finds, at a cost that does not grow with the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.controllers.autoscalerselectors import AutoscalerSelectors
from pinnace import selectors
from pinnace.selectors import Requirement

TEXTS = ("app=a", "app=b", "app in (a,b)", "tier=x,app=a", "app", "!tier", "app notin (a)", "app in (a),tier in (x,y)", "")
LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b", "x", "y"]))
CHANGES = st.lists(st.tuples(st.sampled_from("mn"), st.sampled_from("123"), st.sampled_from((*TEXTS, None))), max_size=12)


@given(CHANGES, st.lists(LABELS, max_size=3), st.sampled_from("123"))
def test_others_are_those_of_a_naive_comparison(
    changes: list[tuple[str, str, str | None]], labels: list[dict[str, str]], uid: str
) -> None:
    found, known = AutoscalerSelectors(), dict[tuple[str, str], str]()
    for namespace, each, text in changes:
        if text is None:
            found.remove(namespace, each)
            known.pop((namespace, each), None)
        else:
            found.set(namespace, each, f"name-{each}", selectors.parse_labels(text))
            known[namespace, each] = text
    expected = {
        f"name-{each}" for (namespace, each), text in known.items() if namespace == "m" and each != uid
        and any(all(item.matches(one) for item in selectors.parse_labels(text)) for one in labels)
    }  # fmt: skip
    assert set(found.others("m", uid, labels)) == expected


class Counted(Requirement):
    """Counts how often it is matched."""

    count = 0

    def matches(self, labels: object) -> bool:
        Counted.count += 1
        return super().matches(labels)  # type: ignore[arg-type]


def test_a_thousand_other_autoscalers_cost_no_comparison() -> None:
    found = AutoscalerSelectors()
    for number in range(1000):
        found.set("m", str(number), f"name-{number}", [Counted("app", "In", (str(number),))])
    assert found.others("m", "7", [{"app": "7"}, {"app": "9"}]) == ["name-9"]
    assert Counted.count == 1


def test_nothing_is_left_of_removed_autoscalers() -> None:
    found = AutoscalerSelectors()
    for text in TEXTS:
        found.set("m", "1", "name", selectors.parse_labels(text))
    found.remove("m", "1")
    found.remove("m", "1")
    assert (found._entries, found._index) == ({}, {})
