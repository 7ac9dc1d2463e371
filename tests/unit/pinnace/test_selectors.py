"""Selectors in text: what Kubernetes accepts, what it refuses, and what they match.

Source: the cases of apimachinery's labels and fields packages.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pinnace import errors, selectors
from pinnace.selectors import FieldRequirement, Requirement


def matches(selector: str, **labels: str) -> bool:
    return selectors.matches_labels(selectors.parse_labels(selector), labels)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", []),
        ("  ", []),
        ("x=a", [("x", "In", ["a"])]),
        ("x==a,y!=b", [("x", "In", ["a"]), ("y", "NotIn", ["b"])]),
        ("x", [("x", "Exists", [])]),
        ("!x", [("x", "DoesNotExist", [])]),
        ("! x , y ", [("x", "DoesNotExist", []), ("y", "Exists", [])]),
        ("x>1", [("x", "Gt", ["1"])]),
        ("x<7,y", [("x", "Lt", ["7"]), ("y", "Exists", [])]),
        ("x=", [("x", "In", [""])]),
        ("x= ", [("x", "In", [""])]),
        ("x=,z= ", [("x", "In", [""]), ("z", "In", [""])]),
        ("x in (a,b)", [("x", "In", ["a", "b"])]),
        ("x in(a)", [("x", "In", ["a"])]),
        ("x notin (a,,b)", [("x", "NotIn", ["a", "", "b"])]),
        ("x in ()", [("x", "In", [""])]),
        ("x in (,a)", [("x", "In", ["", "a"])]),
        ("x in (in,notin)", [("x", "In", ["in", "notin"])]),
        ("x=in", [("x", "In", ["in"])]),
        ("in in (in)", [("in", "In", ["in"])]),
        ("notin", [("notin", "Exists", [])]),
        ("a.b/c_d=E-1.f", [("a.b/c_d", "In", ["E-1.f"])]),
        ("x\tin\n(a)", [("x", "In", ["a"])]),
    ],
)
def test_the_grammar_is_that_of_kubernetes(selector: str, expected: Any) -> None:
    """Requirements in their order."""
    found = selectors.parse_labels(selector)
    assert found == tuple(Requirement(key, operator, tuple(values)) for key, operator, values in expected)


@pytest.mark.parametrize(
    "selector",
    [
        ",", "x,", ",x", "x,,y", "x=a,", "x=a||y=b", "x==a==b", "x=a=b", "!x=a", "!", "!!x", "=a", "x a", "x in", "x in (a",
        "x in a", "x in (a b)", "x notin )", "x in (a))", "(x)", "x in ((a))", "x>", "x>a", "x>1.5", "x<", "x>>1", "x>=1",
        "x>99999999999999999999", "-x", "x/y/z=a", "/x", "x=-a", "x=a/b", "x in (a/b)", f"{'x' * 64}=a", f"x={'a' * 64}", "é=a",
        "x=é", "x!=a!=b", "x notin a", "x=(a)", "x!", "x=\x00",
    ],
)  # fmt: skip
def test_what_kubernetes_refuses_is_refused(selector: str) -> None:
    """A selector that is misread selects too much."""
    with pytest.raises(errors.BadRequest):
        selectors.parse_labels(selector)


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("size>5", {"size": "6"}, True),
        ("size>5", {"size": "5"}, False),
        ("size>5", {"size": "10"}, True),
        ("size>5", {"size": "big"}, False),
        ("size>5", {"size": "1_0"}, False),
        ("size>5", {}, False),
        ("size<5", {"size": "4"}, True),
        ("size<5", {"size": "99999999999999999999"}, False),
        ("x!=a", {}, True),
        ("x notin (a,b)", {"x": "b"}, False),
        ("x=", {"x": ""}, True),
        ("x=", {}, False),
        ("!x", {"x": ""}, False),
        ("x in (,a)", {"x": ""}, True),
    ],
)
def test_labels_match(selector: str, labels: dict[str, str], expected: bool) -> None:
    """Numbers are compared as int64; an absent label is not in a set, and not equal."""
    assert matches(selector, **labels) is expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", []),
        ("a=b", [("a", "b", True)]),
        ("a==b,c!=d", [("a", "b", True), ("c", "d", False)]),
        (",a=b,,", [("a", "b", True)]),
        ("a=", [("a", "", True)]),
        (r"a=b\,c\=d\\", [("a", r"b,c=d" + "\\", True)]),
        (r"a!=\=", [("a", "=", False)]),
        ("a=x y!", [("a", "x y!", True)]),
    ],
)
def test_field_selectors_are_split_and_unescaped(selector: str, expected: Any) -> None:
    """The value may have what separates, escaped."""
    assert selectors.split_fields(selector) == tuple(FieldRequirement(*item) for item in expected)


@pytest.mark.parametrize("selector", ["a", "a>b", "a=b=c", r"a=\b", "a=\\", "a!b"])
def test_a_field_selector_that_is_none_is_refused(selector: str) -> None:
    """Without an operator, or with a broken escape."""
    with pytest.raises(errors.BadRequest):
        selectors.split_fields(selector)


def test_fields_are_tested_by_the_kind() -> None:
    """All requirements hold; an unknown field names the known ones."""
    fields = {"spec.a": lambda item: item.a, "spec.b": lambda item: item.b}
    test = selectors.parse_fields("Thing", "spec.a=1,spec.b!=x", fields)
    assert [test(SimpleNamespace(a=a, b=b)) for a, b in (("1", "y"), ("1", "x"), ("2", "y"))] == [True, False, False]
    with pytest.raises(errors.BadRequest, match=r"known fields: spec\.a, spec\.b"):
        selectors.parse_fields("Thing", "spec.c=1", fields)


@pytest.mark.parametrize(
    "text",
    ["x in (" + "a," * 30_000, "(" * 60_000, "!" * 60_000, "a=" * 30_000, "\\" * 60_000],
    ids=["set", "(", "!", "=", "\\"],
)
def test_a_long_selector_costs_one_pass(text: str) -> None:
    """It is refused, or read, without backtracking."""
    with pytest.raises(errors.BadRequest):
        selectors.parse_labels(text)
    with pytest.raises(errors.BadRequest):
        selectors.split_fields(text)
