"""Prometheus metrics of the control plane; `web` serves them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# Kubernetes' components have no series `_created`, one more for each counter and histogram.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_calls = Histogram("pinnace_rpc_seconds", "Duration of unary calls", ["method", "code"], buckets=_BUCKETS, registry=REGISTRY)
_streams = Counter("pinnace_streams_total", "Streaming calls that ended", ["method", "code"], registry=REGISTRY)
scheduling_attempt = Histogram(
    "pinnace_scheduling_attempt_seconds", "Duration of one attempt to place one pod, with its commit", ["result"],
    buckets=_BUCKETS, registry=REGISTRY,
)  # fmt: skip
bound = Counter("pinnace_pods_bound_total", "Pods given a node", registry=REGISTRY)
preempted = Counter("pinnace_pods_preempted_total", "Pods deleted for more important ones", registry=REGISTRY)
pending_pods = Gauge("pinnace_pending_pods", "Pods in each part of the scheduling queue", ["queue"], registry=REGISTRY)
scheduler_errors = Counter(
    "pinnace_scheduler_errors_total", "Errors that the scheduler contained, by what had them", ["object"], registry=REGISTRY
)
sessions = Gauge("pinnace_node_sessions", "Agents connected", registry=REGISTRY)
dispatch_failures = Counter("pinnace_dispatch_failures_total", "Events that the dispatcher could not route", registry=REGISTRY)
policy_groups_left_out = Counter(
    "pinnace_policy_groups_left_out_total", "Groups of peers of NetworkPolicies that were too large", registry=REGISTRY
)
reports_dropped = Counter("pinnace_reports_dropped_total", "Objects of agents' reports that were refused", registry=REGISTRY)
revision = Gauge("pinnace_store_revision", "Revision of the watch cache", registry=REGISTRY)
unreadable = Gauge("pinnace_store_unreadable_objects", "Objects that are damaged and not served", registry=REGISTRY)
certificate_expiry = Gauge(
    "pinnace_certificate_expiration_timestamp_seconds", "When the certificate expires", ["name"], registry=REGISTRY
)
leading = Gauge("pinnace_leader", "1 while this control plane leads", registry=REGISTRY)
workqueue_depth = Gauge("pinnace_workqueue_depth", "Keys that wait for a reconciliation", ["controller"], registry=REGISTRY)
reconciles = Counter("pinnace_reconciles_total", "Reconciliations", ["controller", "outcome"], registry=REGISTRY)
endpoint_slice_changes = Counter(
    "pinnace_endpoint_slice_changes_total", "EndpointSlices that their controller wrote", ["operation"], registry=REGISTRY
)


audit_dropped = Counter("pinnace_audit_dropped_total", "Lines of the audit log that were not written", registry=REGISTRY)
timeline_dropped = Counter("pinnace_timeline_dropped_total", "Changes that the timeline lacks", registry=REGISTRY)


def observe_call(method: str, code: str, seconds: float) -> None:
    _calls.labels(method, code).observe(seconds)


def count_stream(method: str, code: str) -> None:
    _streams.labels(method, code).inc()
