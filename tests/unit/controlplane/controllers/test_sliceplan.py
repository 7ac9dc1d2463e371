"""The plan for the slices of one Service: few changes, and always the wanted endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers import sliceplan
from controlplane.controllers.sliceplan import MOST, Endpoint, Plan, Port, Ports, Slice, plan

HTTP: Ports = (Port("http", "TCP", 8080, None),)
OTHER: Ports = (Port("http", "TCP", 9090, None),)


def endpoint(number: int, *, ready: bool = True) -> Endpoint:
    return Endpoint(
        f"p{number:04}", f"uid-{number}", (f"10.0.{number // 256}.{number % 256}",), ready, ready, False, "n1", "", ""
    )


def endpoints(*numbers: int) -> list[Endpoint]:
    return [endpoint(number) for number in numbers]


def a_slice(name: str, *numbers: int, ports: Ports = HTTP, current: bool = True) -> Slice:
    return Slice(name, ports, tuple(endpoints(*numbers)), current)


def after(existing: Iterable[Slice], found: Plan) -> dict[str, Slice]:
    """The slices when the plan is done; new ones are called `new-1` and so on."""
    result = {item.name: item for item in existing if item.name not in found.deletes}
    for number, change in enumerate(found.creates, 1):
        assert not change.name
        result[f"new-{number}"] = Slice(f"new-{number}", change.ports, tuple(change.endpoints))
    for change in found.updates:
        assert change.name in {item.name for item in existing}
        result[change.name] = Slice(change.name, change.ports, tuple(change.endpoints))
    return result


def test_a_changed_endpoint_changes_its_slice_alone() -> None:
    wanted = [*endpoints(1, 2), endpoint(3, ready=False), endpoint(4)]
    found = plan([a_slice("a", 1, 2), a_slice("b", 3, 4)], {HTTP: wanted})
    assert (found.creates, found.deletes, [change.name for change in found.updates]) == ([], [], ["b"])
    assert found.updates[0].endpoints == wanted[2:]


def test_new_endpoints_fill_slices_that_change_anyway() -> None:
    """The fullest of them first."""
    existing = [a_slice("a", 1, 2), a_slice("b", 3, 4, 5), a_slice("c", 6)]
    found = plan(existing, {HTTP: endpoints(1, 3, 4, 6, 7)})
    assert {change.name: [one.target for one in change.endpoints] for change in found.updates} == {
        "a": ["p0001"], "b": ["p0003", "p0004", "p0007"],
    }  # fmt: skip


def test_new_endpoints_else_go_to_one_slice_with_room() -> None:
    """The fullest that takes all of them, so that one slice changes."""
    existing = [a_slice("a", *range(50)), a_slice("b", *range(100, 190)), a_slice("c", *range(200, 295))]
    wanted = endpoints(*range(50), *range(100, 190), *range(200, 295), *range(300, 308))
    found = plan(existing, {HTTP: wanted})
    assert [(change.name, len(change.endpoints)) for change in found.updates] == [("b", 98)]
    assert not found.creates


def test_new_endpoints_that_fit_nowhere_make_new_slices() -> None:
    found = plan([a_slice("a", *range(99))], {HTTP: endpoints(*range(99), *range(200, 450))})
    assert [len(change.endpoints) for change in found.creates] == [100, 100, 50]
    assert not found.updates


def test_slices_that_are_not_wanted_are_used_for_new_ones() -> None:
    """Other ports are another slice, with the name of the one that they replace."""
    found = plan([a_slice("a", 1, 2)], {OTHER: endpoints(1, 2)})
    assert (found.creates, found.deletes) == ([], [])
    assert [(change.name, change.ports) for change in found.updates] == [("a", OTHER)]


def test_the_order_of_ports_does_not_matter() -> None:
    two: Ports = (*HTTP, Port("admin", "TCP", 1, None))
    assert plan([a_slice("a", 1, ports=two)], {two[::-1]: endpoints(1)}) == Plan()


def test_metadata_that_differ_are_written() -> None:
    found = plan([a_slice("a", 1, current=False), a_slice("b", 2)], {HTTP: endpoints(1, 2)})
    assert [change.name for change in found.updates] == ["a"]


def test_an_endpoint_that_nobody_wants_leaves() -> None:
    """Also one that a user has written, and one that is there twice."""
    existing = [Slice("a", HTTP, (endpoint(1), None, endpoint(1))), a_slice("b", 1, 2)]
    assert after(existing, plan(existing, {HTTP: endpoints(1)})) == {"a": a_slice("a", 1)}


def test_without_endpoints_one_empty_slice_stays() -> None:
    empty = Slice("a", (), ())
    assert plan([empty], {}) == Plan()
    assert [change.endpoints for change in plan([], {}).creates] == [[]]
    existing = [a_slice("b", 1), empty]
    assert after(existing, plan(existing, {})) == {"b": empty._replace(name="b")}


numbers = st.sets(st.integers(0, 260), max_size=260)
states = st.fixed_dictionaries({HTTP: numbers, OTHER: numbers})


@settings(max_examples=200, deadline=None)
@given(st.lists(states, min_size=1, max_size=5), st.sets(st.integers(0, 260), max_size=5))
def test_slices_hold_exactly_the_wanted_endpoints(steps: list[Mapping[Ports, set[int]]], unready: set[int]) -> None:
    """From state to state each endpoint is in one slice of its ports, no slice is too large, and nothing changes twice."""
    existing: dict[str, Slice] = {}
    for number, step in enumerate(steps):
        wanted = {ports: [endpoint(one, ready=one not in unready) for one in sorted(found)] for ports, found in step.items()}
        # One pod has one set of ports.
        wanted[OTHER] = [one for one in wanted[OTHER] if one not in wanted[HTTP]]
        done = after(existing.values(), plan(list(existing.values()), wanted))
        existing = {f"s{number}-{name}": item._replace(name=f"s{number}-{name}") for name, item in done.items()}
        held = sorted((item.ports, one) for item in existing.values() for one in item.endpoints if one is not None)
        assert held == sorted((ports, one) for ports, found in wanted.items() for one in found)
        assert all(len(item.endpoints) <= MOST for item in existing.values())
        assert existing
        assert plan(list(existing.values()), wanted) == Plan()


def test_the_module_is_pure() -> None:
    """A plan does not change what it is made from."""
    existing = [a_slice("a", 1, 2)]
    wanted = {HTTP: endpoints(2, 3)}
    plan(existing, wanted)
    assert (existing, wanted) == ([a_slice("a", 1, 2)], {HTTP: endpoints(2, 3)})
    assert sliceplan.MOST == 100
