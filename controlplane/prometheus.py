"""Metrics and their text format (version 0.0.4), without a library: prometheus-client imports an HTTP server, urllib.request
and the email package, 4 MB of an idle control plane.

Source: Prometheus' documentation of its exposition formats. As in OpenMetrics a counter's samples end in `_total`; its name may
be given with or without that suffix.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TOTAL = "_total"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Family:
    """Samples of one name. `kind` is counter, gauge or histogram."""

    def __init__(self, kind: str, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.kind = kind
        self.name = name.removesuffix(_TOTAL) + _TOTAL if kind == "counter" else name
        self._text = text
        self._labels = tuple(labels)
        self._lines: list[str] = []

    def add(
        self, values: Sequence[str], value: float, *, timestamp: float | None = None, suffix: str = "", le: str = ""
    ) -> None:
        """One sample: the labels' values in their order; `timestamp` in seconds since the epoch; `le` of a bucket."""
        pairs = dict(zip(self._labels, values, strict=True))
        if le:
            pairs["le"] = le
        shown = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in sorted(pairs.items()))
        when = "" if timestamp is None else f" {int(timestamp * 1000)}"
        self._lines.append(f"{self.name}{suffix}{f'{{{shown}}}' if shown else ''} {_number(value)}{when}\n")

    def text(self) -> str:
        header = f"# HELP {self.name} {self._text.translate(_HELP_ESCAPES)}\n# TYPE {self.name} {self.kind}\n"
        return header + "".join(self._lines)


def single(name: str, text: str, value: float) -> Family:
    """A gauge without labels."""
    found = Family("gauge", name, text)
    found.add((), value)
    return found


def render(families: Iterable[Family]) -> bytes:
    """The text format."""
    return "".join(family.text() for family in families).encode()


def _number(value: float) -> str:
    """As Prometheus reads it, infinities included."""
    shown = repr(float(value))
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(shown, shown)


class Registry:
    """The metrics of a process, in the order in which they were made."""

    def __init__(self) -> None:
        self._metrics: dict[str, _Metric] = {}

    def register(self, metric: _Metric) -> None:
        """Raises ValueError for a name that is taken."""
        if metric.name in self._metrics:
            raise ValueError(f"duplicate metric: {metric.name}")
        self._metrics[metric.name] = metric

    def collect(self) -> Iterator[Family]:
        for metric in self._metrics.values():
            yield metric.family()

    def sample(self, name: str, labels: Mapping[str, str] | None = None) -> float | None:
        """The value of a sample by its whole name, None where there is none: for tests."""
        pairs = ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in sorted((labels or {}).items()))
        wanted = f"{name}{{{pairs}}}" if pairs else name
        for line in render(self.collect()).decode().splitlines():
            shown, _, value = line.rpartition(" ")
            if shown == wanted:
                return float(value)
        return None


class _Value:
    """One number, changed by any thread."""

    __slots__ = ("_lock", "number")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.number = 0.0

    def inc(self, amount: float = 1) -> None:
        with self._lock:
            self.number += amount

    def set(self, number: float) -> None:
        self.number = float(number)


class _Metric:
    """A metric with a child for each combination of label values that occurred; without labels it has one from the start."""

    kind = ""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, registry: Registry) -> None:
        self.name = name
        self._text = text
        self._labels = tuple(labels)
        registry.register(self)

    def family(self) -> Family:
        raise NotImplementedError


class _Simple(_Metric):
    """Its children are numbers."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, registry: Registry) -> None:
        super().__init__(name, text, labels, registry=registry)
        self._children: dict[tuple[str, ...], _Value] = {} if labels else {(): _Value()}

    def labels(self, *values: str) -> _Value:
        """Raises ValueError for another number of values than of labels."""
        found = self._children.get(values)
        if found is None:
            _check(self._labels, values)
            found = self._children.setdefault(values, _Value())
        return found

    def family(self) -> Family:
        found = Family(self.kind, self.name, self._text, self._labels)
        for values, child in list(self._children.items()):
            found.add(values, child.number)
        return found


class Counter(_Simple):
    kind = "counter"

    def inc(self, amount: float = 1) -> None:
        self.labels().inc(amount)


class Gauge(_Simple):
    kind = "gauge"

    def set(self, number: float) -> None:
        self.labels().set(number)


class _Observations:
    """Counts by bucket, the last for what exceeds all bounds."""

    __slots__ = ("_bounds", "_lock", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._lock = threading.Lock()
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        with self._lock:
            self.counts[bisect.bisect_left(self._bounds, value)] += 1
            self.total += value


class Histogram(_Metric):
    """`buckets`: their upper bounds, ascending, without infinity."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str], *, buckets: Sequence[float], registry: Registry) -> None:
        super().__init__(name, text, labels, registry=registry)
        self._bounds = tuple(buckets)
        self._children: dict[tuple[str, ...], _Observations] = {}

    def labels(self, *values: str) -> _Observations:
        """Raises ValueError for another number of values than of labels."""
        found = self._children.get(values)
        if found is None:
            _check(self._labels, values)
            found = self._children.setdefault(values, _Observations(self._bounds))
        return found

    def family(self) -> Family:
        found = Family(self.kind, self.name, self._text, self._labels)
        for values, child in list(self._children.items()):
            count = 0
            for bound, more in zip((*self._bounds, float("inf")), child.counts, strict=True):
                count += more
                found.add(values, count, suffix="_bucket", le=_number(bound))
            found.add(values, count, suffix="_count")
            found.add(values, child.total, suffix="_sum")
        return found


def _check(labels: Sequence[str], values: Sequence[str]) -> None:
    if len(labels) != len(values):
        raise ValueError(f"{len(values)} values for the labels {', '.join(labels)}")
