"""Durations: what Go's package time prints and reads, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinnace import codec, durations
from pinnace.meta.v1.scalars_pb2 import Duration
from pinnace.metrics.v1beta1.metrics_pb2 import NodeMetrics

SECOND = 10**9


@pytest.mark.parametrize(("nanoseconds", "text"), [
    (0, "0s"), (1, "1ns"), (1_100, "1.1µs"), (2_200_000, "2.2ms"), (500_000_000, "500ms"), (SECOND, "1s"),
    (10_123_000_000, "10.123s"), (60 * SECOND, "1m0s"), (3_300 * 10**6, "3.3s"), (5 * 60 * SECOND + 5 * SECOND + 1_000_000, "5m5.001s"),
    (3_600 * SECOND, "1h0m0s"), (-90 * SECOND, "-1m30s"), (durations.MAX, "2562047h47m16.854775807s"),
])  # fmt: skip
def test_the_form_that_go_prints(nanoseconds: int, text: str) -> None:
    """And it reads the same again."""
    assert durations.render(nanoseconds) == text
    assert durations.parse(text) == nanoseconds


@pytest.mark.parametrize(("text", "nanoseconds"), [
    ("0", 0), ("+5s", 5 * SECOND), ("-.5s", -SECOND // 2), ("1.s", SECOND), ("1us", 1_000), ("1h1h", 7_200 * SECOND), ("0.3333ns", 0),
])  # fmt: skip
def test_other_forms_are_read(text: str, nanoseconds: int) -> None:
    """Units in any order and number, signs, and fractions."""
    assert durations.parse(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "3", "-", "s", ".s", "1x", "1 s", "1s ", "--1s", "1e3s", "+", "9999999999h", "1s" * 40, "٣s"]
)
def test_refused(text: str) -> None:
    """ValueError, with an example."""
    with pytest.raises(ValueError, match='such as "1h30m"'):
        durations.parse(text)


@given(st.integers(-durations.MAX, durations.MAX))
def test_every_duration_survives(nanoseconds: int) -> None:
    """To the nanosecond."""
    assert durations.parse(durations.render(nanoseconds)) == nanoseconds


def test_in_json() -> None:
    """A text with units, and an error at its path for anything else."""
    message = NodeMetrics(window=Duration(duration=SECOND // 2))
    assert codec.encode(message) == {"window": "500ms"}
    assert codec.decode(NodeMetrics, {"window": "500ms"}) == message
    with pytest.raises(codec.FieldError, match="expected a string, got 5") as caught:
        codec.decode(NodeMetrics, {"window": 5})
    assert caught.value.path == "window"
