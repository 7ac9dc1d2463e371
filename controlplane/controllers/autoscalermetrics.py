"""The metrics of an autoscaler as kube-controller-manager names them: targets, statuses, and the texts of failures. Pure.

Source: kube-controller-manager's horizontal.go (computeReplicasForMetrics and the functions below it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.controllers import replicacalculator
from controlplane.controllers.replicacalculator import Proposal, Startup, Target, Tolerances, Uncomputable
from controlplane.podusage import PodUse
from pinnace import quantity
from pinnace.admission.horizontalpodautoscalers import CONTAINER_RESOURCE
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import MetricSpec, MetricStatus
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.podresources import MEMORY


@dataclass(frozen=True, slots=True)
class Measured:
    """The pods of a workload with `current` replicas, and what they use, by UID."""

    pods: Sequence[Pod]
    usage: Mapping[str, PodUse]
    current: int
    tolerances: Tolerances
    startup: Startup


@dataclass(frozen=True, slots=True)
class Failure:
    """A metric that could not be computed: `reason` and `text` of the event, and the error with its metric in `chain`."""

    reason: str
    text: str
    chain: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The largest number of replicas that a metric asks for, 0 for none; that metric's description; the status of each."""

    replicas: int
    metric: str
    statuses: tuple[MetricStatus, ...]
    failures: tuple[Failure, ...]


def evaluate(specs: Sequence[MetricSpec], measured: Measured) -> Outcome:
    replicas, metric, statuses, failures = 0, "", list[MetricStatus](), list[Failure]()
    for spec in specs:
        try:
            proposal = _proposal(spec, measured)
        except Uncomputable as error:
            failures.append(_failure(spec, error))
            statuses.append(MetricStatus())
            continue
        statuses.append(_status(spec, proposal))
        if replicas == 0 or proposal.replicas > replicas:
            replicas, metric = proposal.replicas, _description(spec)
    return Outcome(replicas, metric, tuple(statuses), tuple(failures))


def _proposal(spec: MetricSpec, measured: Measured) -> Proposal:
    """Raises Uncomputable."""
    m = measured
    return replicacalculator.propose(_target(spec), m.pods, m.usage, m.current, m.tolerances, m.startup)


def _failure(spec: MetricSpec, error: Uncomputable) -> Failure:
    target, container = _target(spec), spec.type == CONTAINER_RESOURCE
    measure = "usage" if target.utilization is None else "utilization"
    text = f"failed to get {target.resource} {measure}: {error}"
    of = f"{target.container} container" if container else f"{target.resource} resource"
    reason = "FailedGetContainerResourceMetric" if container else "FailedGetResourceMetric"
    return Failure(reason, text, f"failed to get {of} metric value: {text}")


def _source(spec: MetricSpec) -> Any:
    return spec.containerResource if spec.type == CONTAINER_RESOURCE else spec.resource


def _target(spec: MetricSpec) -> Target:
    source = _source(spec)
    container = source.container if spec.type == CONTAINER_RESOURCE else ""
    if source.target.HasField("averageValue"):
        return Target(source.name, value=quantity.milli(source.target.averageValue.string), container=container)
    return Target(source.name, utilization=source.target.averageUtilization, container=container)


def _description(spec: MetricSpec) -> str:
    """As events and conditions name a metric."""
    target = _target(spec)
    if target.utilization is None:
        return f"{target.resource} resource"
    part = "container resource" if spec.type == CONTAINER_RESOURCE else "resource"
    return f"{target.resource} {part} utilization (percentage of request)"


def _status(spec: MetricSpec, proposal: Proposal) -> MetricStatus:
    status = MetricStatus(type=spec.type)
    of: Any = status.containerResource if spec.type == CONTAINER_RESOURCE else status.resource
    of.name = _source(spec).name
    if spec.type == CONTAINER_RESOURCE:
        of.container = spec.containerResource.container
    of.current.averageValue.string = _quantity(of.name, proposal.average)
    if proposal.utilization is not None:
        of.current.averageUtilization = proposal.utilization
    return status


def _quantity(resource: str, average: int) -> str:
    """Thousandths as text: bytes in binary units where they are whole."""
    average = min(average, quantity.MAX)
    if resource == MEMORY and average % 1000 == 0 and average >= 1024_000:
        return quantity.format_bytes(average // 1000)
    return quantity.format_milli(average)
