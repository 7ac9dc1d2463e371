"""The metrics' text as Prometheus' own parser reads it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from controlplane.prometheus import Counter, Family, Gauge, Histogram, Registry, render, single


def samples(text: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_a_counter_ends_in_total_and_starts_at_zero() -> None:
    """Without labels it has a sample before its first event; with labels one for each combination that occurred."""
    registry = Registry()
    plain = Counter("a_total", "Events", registry=registry)
    labelled = Counter("b", "Events", ["kind", "result"], registry=registry)
    assert samples(render(registry.collect())) == {"a_total": [({}, 0.0)]}
    plain.inc()
    plain.inc(2)
    labelled.labels("x", "ok").inc()
    assert samples(render(registry.collect())) == {
        "a_total": [({}, 3.0)], "b_total": [({"kind": "x", "result": "ok"}, 1.0)],
    }  # fmt: skip
    assert b"# TYPE a_total counter\n" in render(registry.collect())


def test_buckets_are_cumulative() -> None:
    """A value on a bound is in its bucket."""
    registry = Registry()
    histogram = Histogram("seconds", "Durations", ["method"], buckets=(0.1, 1), registry=registry)
    for value in (0.05, 0.1, 0.5, 7):
        histogram.labels("get").observe(value)
    found = samples(render(registry.collect()))
    assert [(labels["le"], value) for labels, value in found["seconds_bucket"]] == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert found["seconds_count"] == [({"method": "get"}, 4)]
    assert found["seconds_sum"][0][1] == pytest.approx(7.65)


def test_a_gauge_takes_any_number() -> None:
    """Infinities and NaN included."""
    for number in (-1.5, 0, 1e300, 1 << 62, math.inf, -math.inf):
        assert samples(render([single("g", "Text", number)])) == {"g": [({}, float(number))]}
    assert math.isnan(samples(render([single("g", "Text", math.nan)]))["g"][0][1])
    registry = Registry()
    Gauge("g", "Text", registry=registry).set(5)
    assert registry.sample("g") == 5
    assert registry.sample("h") is None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_label_values_are_escaped(value: str) -> None:
    """Quotes, backslashes and line feeds among them."""
    family = Family("gauge", "g", "One\nline \\", ["name"])
    family.add([value], 1)
    assert samples(render([family])) == {"g": [({"name": value}, 1.0)]}


def test_a_timestamp_is_in_milliseconds() -> None:
    """After the value."""
    family = Family("gauge", "g", "Text")
    family.add((), 2, timestamp=1.5)
    assert render([family]).splitlines()[-1] == b"g 2.0 1500"


def test_wrong_labels_and_taken_names_are_errors() -> None:
    """Both are the programmer's."""
    registry = Registry()
    counter = Counter("a", "Events", ["kind"], registry=registry)
    with pytest.raises(ValueError, match="2 values for the labels kind"):
        counter.labels("x", "y")
    with pytest.raises(ValueError, match="0 values for the labels kind"):
        counter.inc()
    with pytest.raises(ValueError, match="duplicate metric: a"):
        Gauge("a", "Text", registry=registry)
