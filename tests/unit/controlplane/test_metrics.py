"""The metrics page as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controlplane import metrics


def test_no_series_is_a_time_of_creation() -> None:
    """Counters and histograms have only their values, as those of Kubernetes' components."""
    metrics.scheduling_attempt.labels("scheduled").observe(0.1)
    families = text_string_to_metric_families(generate_latest(metrics.REGISTRY).decode())
    names = {sample.name for family in families for sample in family.samples}
    assert "pinnace_scheduling_attempt_seconds_count" in names
    assert not [name for name in names if name.endswith("_created")]
