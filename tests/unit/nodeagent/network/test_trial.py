"""Which elements of a new table are found to be accepted, and how much is sent to the kernel for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from nodeagent.network import trial
from nodeagent.network.elements import Element
from nodeagent.network.interface import NetworkError


class Kernel:
    """Rejects elements; `sent`: of each check, their number."""

    def __init__(self, rejects: Callable[[Element], bool]) -> None:
        self._rejects = rejects
        self.sent: list[int] = []

    def check(self, items: Sequence[Element]) -> None:
        self.sent.append(len(items))
        if any(map(self._rejects, items)):
            raise NetworkError("rejected")


def some(container: str, count: int) -> list[Element]:
    return [Element(container, (f"{number:06}",)) for number in range(count)]


def in_order(items: Sequence[Element]) -> list[Element]:
    return sorted(items)


def test_all_elements_of_others_are_accepted_beside_many_containers_of_another_form() -> None:
    """However many: 100 of 200 here, of 300 elements each."""
    items = [item for number in range(200) for item in some(f"c{number:03}_4", 300)]
    kernel = Kernel(lambda item: int(item.container[1:4]) % 2 == 0)
    found = trial.find(items, kernel.check)
    assert in_order(found.accepted) == [item for item in items if int(item.container[1:4]) % 2]
    assert sum(len(group) for group, _ in found.left_out) == 100 * 300


def test_a_large_container_of_another_form_is_not_sent() -> None:
    """It is told by a few elements; the others are sent once."""
    items = some("a_4", 100_000) + some("b_4", 1_000)
    kernel = Kernel(lambda item: item.container == "a_4")
    found = trial.find(items, kernel.check)
    assert found.accepted == items[100_000:]
    assert sum(kernel.sent) < 1_100


@pytest.mark.parametrize("bad", [[0], [299], [7, 8, 150], [*range(0, 300, 60)]])
def test_each_rejected_element_is_found(bad: list[int]) -> None:
    """The first and last too, by which another form is told."""
    items = some("a_4", 300)
    rejected = {items[place] for place in bad}
    kernel = Kernel(lambda item: item in rejected)
    found = trial.find([*items, *some("b_4", 50)], kernel.check)
    assert in_order(found.accepted) == in_order([*(set(items) - rejected), *some("b_4", 50)])
    assert {item for item, _ in found.rejected} == rejected
    assert found.left_out == []


def test_a_rejected_element_of_many_costs_a_few_times_their_number() -> None:
    items = some("a_4", 50_000)
    kernel = Kernel(lambda item: item == items[33_333])
    found = trial.find(items, kernel.check)
    assert (len(found.accepted), [item for item, _ in found.rejected]) == (49_999, [items[33_333]])
    assert sum(kernel.sent) < 5 * len(items)


def test_a_container_with_too_many_rejected_elements_loses_others_of_its_own_only() -> None:
    """The number of checks is bounded, and all elements are accounted for."""
    items, others = some("a_4", 10_000), some("b_4", 50)
    kernel = Kernel(lambda item: item.container == "a_4" and int(item.key[0]) % 3 == 0)
    found = trial.find([*items, *others], kernel.check)
    assert set(others) <= set(found.accepted)
    assert len(kernel.sent) < 200
    left_out = [item for group, _ in found.left_out for item in group]
    assert in_order([*found.accepted, *(item for item, _ in found.rejected), *left_out]) == [*items, *others]


def test_a_table_that_is_rejected_without_elements_is_an_error() -> None:
    def rejects(items: Sequence[Element]) -> None:
        raise NetworkError("no such hook")

    with pytest.raises(NetworkError, match="no such hook"):
        trial.find(some("a_4", 3), rejects)
