"""Quantities as Kubernetes reads them: exact, and never larger than 2^63-1."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace import podresources, quantity
from pinnace.core.v1 import pod_pb2

MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", Fraction(1, 2)), ("1Ki", Fraction(1024)), ("2e3", Fraction(2000)), ("-1", Fraction(-1)),
        ("1n", Fraction(1, 10**9)), ("1e-12", Fraction(1, 10**9)), ("-1e-12", Fraction(-1, 10**9)), ("0e-99", Fraction(0)),
        ("16Ei", Fraction(MAX)), ("8Ei", Fraction(MAX)), ("1e300", Fraction(MAX)), ("-1e300", Fraction(-MAX)),
        ("1e999999999", Fraction(MAX)), ("-1E+2147483647", Fraction(-MAX)), ("1e-999999999", Fraction(1, 10**9)),
        ("0e999999999", Fraction(0)), (f"0.{'0' * 50}1e999999999", Fraction(MAX)), (f"{'9' * 50}e-999999999", Fraction(1, 10**9)),
        ("9223372036854775807", Fraction(MAX)), ("9223372036854775808", Fraction(MAX)),
    ],
)  # fmt: skip
def test_values(text: str, value: Fraction) -> None:
    """Exact between a billionth and 2^63-1; rounded away from zero below, saturated above."""
    assert quantity.parse(text) == value


@given(st.from_regex(r"[+-]?([0-9]{1,30}(\.[0-9]{0,20})?)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3}|)", fullmatch=True))
def test_no_quantity_overflows(text: str) -> None:
    """Neither in units nor in thousandths."""
    assert abs(quantity.parse(text)) <= MAX
    assert abs(quantity.units(text)) <= MAX
    assert abs(quantity.milli(text)) <= MAX


@pytest.mark.parametrize(
    "text", ["9" * 10_000, "1e" + "9" * 10_000, "0." + "0" * 10_000 + "1", "1e99999999999", "1e", "nan", "1ei", ""]
)
def test_a_number_that_is_too_long_is_refused_unread(text: str) -> None:
    """With one short error."""
    with pytest.raises(ValueError, match="expected a quantity") as caught:
        quantity.parse(text)
    assert len(str(caught.value)) < 150


def test_sums_of_a_pod_saturate() -> None:
    """Of any number of containers and the overhead."""
    spec = pod_pb2.PodSpec()
    for index in range(3):
        container = spec.containers.add(name=f"c{index}")
        container.resources.requests["memory"].string = "16Ei"
        container.resources.requests["cpu"].string = "1e17"
    spec.overhead["memory"].string = "16Ei"
    assert podresources.requests(spec) == {"cpu": MAX, "memory": MAX}
