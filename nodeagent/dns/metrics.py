"""Counts of the resolver, and their text for Prometheus. Plain integers: counting is a part of each answer's cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pinnace.dns.serving import Dropped

# Way, whose name, type and response code as numbers.
Label = tuple[str, str, int, int]
_TYPES = {
    0: "",
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    65: "HTTPS",
    255: "ANY",
}
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}
# Seconds, upper bounds.
_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0)
# Name servers that are counted apart.
_MAX_SERVERS = 32


class Metrics:
    def __init__(self) -> None:
        self.dropped = Dropped()
        self.cache_hits = self.cache_misses = self.stale = self.refused = 0
        self.services = self.slices = 0
        # Name servers that pass queries back, and those that are this resolver.
        self.loops: list[str] = []
        self.own: list[str] = []
        self._answers: Counter[Label] = Counter()
        self._kept: Counter[Label] = Counter()
        self._asked: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._observed = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0

    def label(self, *, tcp: bool, inside: bool, type_: int, rcode: int) -> Label:
        """Types and codes without a name of ours count together."""
        return (
            "tcp" if tcp else "udp", "cluster" if inside else "other", type_ if type_ in _TYPES else -1,
            rcode if rcode in _RCODES else -1,
        )  # fmt: skip

    def kept(self, label: Label) -> None:
        """An answer that was ready in bytes."""
        self._kept[label] += 1

    def made(self, label: Label) -> None:
        self._answers[label] += 1

    def asked(self, server: str) -> None:
        self._count(self._asked, server)

    def failed(self, server: str) -> None:
        self._count(self._failed, server)

    @staticmethod
    def _count(counter: Counter[str], server: str) -> None:
        counter[server if server in counter or len(counter) < _MAX_SERVERS else "other"] += 1

    def observe(self, seconds: float) -> None:
        """How long a question took that other servers were asked."""
        self._seconds += seconds
        self._observed[next((at for at, most in enumerate(_BUCKETS) if seconds <= most), len(_BUCKETS))] += 1

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from _head("pinnace_dns_responses_total", "counter", "Responses by protocol, zone, type and response code.")
        for label in sorted({*self._answers, *self._kept}):
            way, zone, type_, rcode = label
            names = f'proto="{way}",zone="{zone}",type="{_TYPES.get(type_, "other")}",rcode="{_RCODES.get(rcode, "other")}"'
            yield f"pinnace_dns_responses_total{{{names}}} {self._answers[label] + self._kept[label]}"
        for name, text, value in self._simple():
            yield from _head(name, "counter", text)
            yield f"{name} {value}"
        yield from self._dropped()
        for name, text, counter in (
            ("pinnace_dns_forward_requests_total", "Queries that were sent to each name server.", self._asked),
            ("pinnace_dns_forward_failures_total", "Those that were not answered.", self._failed),
        ):
            yield from _head(name, "counter", text)
            for server in sorted(counter):
                yield f'{name}{{to="{server}"}} {counter[server]}'
        yield from self._histogram()
        yield from _head("pinnace_dns_forward_loops", "gauge", "Name servers that are not asked: they lead back here.")
        for server in sorted({*self.loops, *self.own}):
            yield f'pinnace_dns_forward_loops{{to="{server}"}} 1'
        yield from _head("pinnace_dns_objects", "gauge", "Objects that the agent has sent, by kind.")
        yield f'pinnace_dns_objects{{kind="Service"}} {self.services}'
        yield f'pinnace_dns_objects{{kind="EndpointSlice"}} {self.slices}'

    def _simple(self) -> Iterator[tuple[str, str, int]]:
        yield "pinnace_dns_ready_responses_total", "Responses that were ready in bytes.", self._kept.total()
        yield "pinnace_dns_cache_hits_total", "Answers of name servers that were in the cache.", self.cache_hits
        yield "pinnace_dns_cache_misses_total", "Questions that name servers were asked.", self.cache_misses
        yield "pinnace_dns_stale_responses_total", "Expired answers that were looked up for want of others.", self.stale

    def _dropped(self) -> Iterator[str]:
        name = "pinnace_dns_dropped_total"
        yield from _head(name, "counter", "What was not answered, by the bound that it exceeded.")
        for bound, count in (
            ("queue", self.dropped.queue), ("client_queries", self.dropped.queries),
            ("connections", self.dropped.connections), ("forwarded", self.refused),
        ):  # fmt: skip
            yield f'{name}{{bound="{bound}"}} {count}'

    def _histogram(self) -> Iterator[str]:
        name, total = "pinnace_dns_forward_duration_seconds", 0
        yield from _head(name, "histogram", "Time until a question was answered by a name server, or was not.")
        for most, count in zip(_BUCKETS, self._observed, strict=False):
            total += count
            yield f'{name}_bucket{{le="{most}"}} {total}'
        total += self._observed[-1]
        yield f'{name}_bucket{{le="+Inf"}} {total}'
        yield f"{name}_sum {self._seconds:.6f}"
        yield f"{name}_count {total}"


def _head(name: str, type_: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {type_}"
