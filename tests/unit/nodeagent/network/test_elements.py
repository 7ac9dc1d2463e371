"""The table as text and as the kernel lists it."""

from __future__ import annotations

import pytest

from nodeagent.network import elements
from nodeagent.network.elements import Difference, Element, Fragment

WEB = Element("services_4", ("10.96.0.1", "tcp", "80"), ("goto n2",))
OTHER = Element("services_4", ("10.96.0.1", "sctp", "81"), ("10.244.1.5", "8080"))


def test_an_element_with_another_value_is_removed_and_added() -> None:
    """In this order: the kernel rejects a key that is there with another value."""
    changed = Element(WEB.container, WEB.key, ("goto n3",))
    change = elements.difference([changed, OTHER], [WEB, OTHER])
    assert change == Difference((changed,), (WEB,))
    assert change.size == 1
    assert elements.commands(change) == (
        "delete element inet pinnace services_4 { 10.96.0.1 . 6 . 80 }\n"
        "add element inet pinnace services_4 { 10.96.0.1 . 6 . 80 : goto n3 }\n"
    )


def test_elements_of_a_container_are_one_command() -> None:
    found = elements.commands(Difference(add=(WEB, OTHER, Element("peers_4", ("192.0.2.1",)))))
    assert found == (
        "add element inet pinnace services_4 { 10.96.0.1 . 6 . 80 : goto n2, 10.96.0.1 . 132 . 81 : 10.244.1.5 . 8080 }\n"
        "add element inet pinnace peers_4 { 192.0.2.1 }\n"
    )


@pytest.mark.parametrize("part", ["1 }\nflush ruleset", "", "x;y", 'a"b'])
def test_text_that_is_no_part_of_an_element_is_rejected(part: str) -> None:
    """It would become a command of nft's."""
    with pytest.raises(ValueError, match="no part"):
        elements.commands(Difference(add=(Element("peers_4", (part,)),)))


def test_the_id_of_a_skeleton_changes_with_its_text() -> None:
    first = elements.skeleton_id([Fragment("a", "x"), Fragment("b", "y")])
    assert first == elements.skeleton_id([Fragment("a", "x"), Fragment("b", "y")])
    assert first != elements.skeleton_id([Fragment("a", "x"), Fragment("b", "z")])
