"""Metrics of nodes and pods (metrics.k8s.io): what they use, as their nodes have measured it. None is stored.

Source: k8s.io/metrics, and the columns and selection of kubernetes-sigs/metrics-server (pkg/api).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from controlplane.resources.columns import NAME, Cell, Column, Columns
from controlplane.resources.resource import Resource
from pinnace import durations, kinds, quantity, usage
from pinnace.core.v1.node_pb2 import Node
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from pinnace.meta.v1.meta_pb2 import ObjectMeta
from pinnace.meta.v1.scalars_pb2 import Duration, Quantity, Time
from pinnace.metrics.v1beta1.metrics_pb2 import NodeMetrics, PodMetrics
from pinnace.podresources import CPU, MEMORY
from pinnace.usage import Sample, Use

T = TypeVar("T")
_READ = ("get", "list")
_COLUMNS = (
    NAME,
    Column(CPU, format="quantity", description="Processors in use."),
    Column(MEMORY, format="quantity", description="Bytes of the working set."),
    Column("Window", format="duration", description="Time over which the use of processors is averaged."),
)


@dataclass(frozen=True)
class Measured(Generic[T]):
    """A resource of metrics, and how its objects are made from those of `of` and from what their nodes measured."""

    resource: Resource[Any]
    of: Kind[T]
    # The node that measures an object; empty: none does.
    node: Callable[[T], str]
    # The metrics of an object, None where its node knows nothing of it; `metadata` is filled in by the caller.
    measure: Callable[[T, Sample], NodeMetrics | PodMetrics | None]


def metadata(item: Any, now: float) -> ObjectMeta:
    """Of the metrics of an object: its names and labels. They are made at `now`, in seconds since the epoch."""
    meta = item.metadata
    created = Time(seconds=int(now))
    return ObjectMeta(name=meta.name, namespace=meta.namespace, labels=meta.labels, creationTimestamp=created)


def _times(sample: Sample) -> dict[str, Any]:
    seconds, nanos = divmod(sample.stats.timeNanos, 1_000_000_000)
    return {"timestamp": Time(seconds=seconds, nanos=nanos), "window": Duration(duration=sample.window)}


def _usage(use: Use) -> dict[str, Quantity]:
    """A node may send any number: it saturates as quantities do."""
    cpu, memory = min(use.cpu, quantity.MAX), min(use.memory, quantity.MAX)
    return {CPU: Quantity(string=quantity.format_nano(cpu)), MEMORY: Quantity(string=quantity.format_bytes(memory))}


def _node_metrics(item: Node, sample: Sample) -> NodeMetrics:
    return NodeMetrics(**_times(sample), usage=_usage(usage.of(sample.stats)))


def _pod_metrics(item: Pod, sample: Sample) -> PodMetrics | None:
    found = sample.pods.get((item.metadata.namespace, item.metadata.name))
    if found is None or not found.containers:
        return None
    metrics = PodMetrics(**_times(sample))
    for container in found.containers:
        metrics.containers.add(name=container.name, usage=_usage(usage.of(container)))
    return metrics


def _node_of_pod(item: Pod) -> str:
    return str(item.spec.nodeName) if item.status.phase == "Running" else ""


def _node_cells(item: NodeMetrics, now: float) -> tuple[Cell, ...]:
    return _cells(item, [item.usage])


def _pod_cells(item: PodMetrics, now: float) -> tuple[Cell, ...]:
    return _cells(item, [container.usage for container in item.containers])


def _cells(item: Any, used: Iterable[Mapping[str, Quantity]]) -> tuple[Cell, ...]:
    total = usage.total(
        Use(int(quantity.parse(each[CPU].string) * 10**9), quantity.units(each[MEMORY].string)) for each in used
    )
    amounts = quantity.format_nano(total.cpu), quantity.format_bytes(total.memory)
    return (item.metadata.name, *amounts, durations.render(item.window.duration))


NODE_METRICS: Measured[Node] = Measured(
    Resource(kinds.NODE_METRICS, columns=Columns(_COLUMNS, _node_cells), verbs=_READ), kinds.NODE,
    lambda item: str(item.metadata.name), _node_metrics,
)  # fmt: skip
POD_METRICS: Measured[Pod] = Measured(
    Resource(kinds.POD_METRICS, columns=Columns(_COLUMNS, _pod_cells), verbs=_READ), kinds.POD, _node_of_pod, _pod_metrics
)
MEASURED: tuple[Measured[Any], ...] = (NODE_METRICS, POD_METRICS)
