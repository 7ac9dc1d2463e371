"""Prometheus metrics of the control plane; `web` serves them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_calls = Histogram("pinnace_rpc_seconds", "Duration of unary calls", ["method", "code"], buckets=_BUCKETS, registry=REGISTRY)
_streams = Counter("pinnace_streams_total", "Streaming calls that ended", ["method", "code"], registry=REGISTRY)
scheduling = Histogram("pinnace_scheduling_cycle_seconds", "Duration of a cycle", buckets=_BUCKETS, registry=REGISTRY)
bound = Counter("pinnace_pods_bound_total", "Pods given a node", registry=REGISTRY)
pending = Gauge("pinnace_pods_unschedulable", "Pods that fit no node at the last attempt", registry=REGISTRY)
sessions = Gauge("pinnace_node_sessions", "Agents connected", registry=REGISTRY)
revision = Gauge("pinnace_store_revision", "Revision of the mirror", registry=REGISTRY)
reconciles = Counter("pinnace_reconciles_total", "Reconciliations", ["controller", "outcome"], registry=REGISTRY)


def observe_call(method: str, code: str, seconds: float) -> None:
    _calls.labels(method, code).observe(seconds)


def count_stream(method: str, code: str) -> None:
    _streams.labels(method, code).inc()
