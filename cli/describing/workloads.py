"""Workloads that keep pods running, as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describeDeployment, describeReplicaSet, describeReplicationController, describeDaemonSet and describeStatefulSet of
kubectl's pkg/describe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cli.describing import storage, templates
from cli.describing.lines import when
from cli.describing.templates import NONE, pairs
from cli.rollouts import deployments
from pinnace import kinds, labelselectors
from pinnace.kinds import Kind


def deployment(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec, status = item.metadata, item.spec, item.status
    lines = [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"CreationTimestamp:\t{when(meta.creationTimestamp)}",
        *_labels(meta),
        f"Selector:\t{labelselectors.text(spec.selector)}",
        f"Replicas:\t{spec.replicas} desired | {status.updatedReplicas} updated | {status.replicas} total | "
        f"{status.availableReplicas} available | {status.unavailableReplicas} unavailable",
        f"StrategyType:\t{spec.strategy.type}", f"MinReadySeconds:\t{spec.minReadySeconds}",
    ]  # fmt: skip
    if spec.strategy.HasField("rollingUpdate"):
        most = spec.strategy.rollingUpdate
        text = f"{_number(most.maxUnavailable)} max unavailable, {_number(most.maxSurge)} max surge"
        lines.append(f"RollingUpdateStrategy:\t{text}")
    lines += [*templates.lines(spec.template), *_conditions(status.conditions)]
    return [*lines, *_replica_sets(client, item)]


def replica_set(client: Any, kind: Kind, item: Any) -> list[str]:
    selector = labelselectors.text(item.spec.selector)
    owners = [f"Controlled By:\t{ref.kind}/{ref.name}" for ref in item.metadata.ownerReferences if ref.controller]
    return [*_head(item, selector), *owners, *_replicas(client, item, selector)]


def replication_controller(client: Any, kind: Kind, item: Any) -> list[str]:
    selector = _equalities(item.spec.selector)
    return [*_head(item, selector or NONE), *_replicas(client, item, selector)]


def daemon_set(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, status = item.metadata, item.status
    selector = labelselectors.text(item.spec.selector)
    return [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"Selector:\t{selector}",
        f"Node-Selector:\t{_equalities(item.spec.template.spec.nodeSelector) or NONE}", *_labels(meta),
        f"Desired Number of Nodes Scheduled: {status.desiredNumberScheduled}",
        f"Current Number of Nodes Scheduled: {status.currentNumberScheduled}",
        f"Number of Nodes Scheduled with Up-to-date Pods: {status.updatedNumberScheduled}",
        f"Number of Nodes Scheduled with Available Pods: {status.numberAvailable}",
        f"Number of Nodes Misscheduled: {status.numberMisscheduled}",
        f"Pods Status:\t{_phases(client, item, selector)}", *templates.lines(item.spec.template),
    ]  # fmt: skip


def stateful_set(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec = item.metadata, item.spec
    selector = labelselectors.text(spec.selector)
    return [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"CreationTimestamp:\t{when(meta.creationTimestamp)}",
        f"Selector:\t{selector}", *_labels(meta), *([f"Service Name:\t{spec.serviceName}"] if spec.serviceName else []),
        f"Pod Management Policy:\t{spec.podManagementPolicy}",
        f"Replicas:\t{spec.replicas} desired | {item.status.replicas} total",
        f"Update Strategy:\t{spec.updateStrategy.type}", *_partition(spec.updateStrategy.rollingUpdate),
        *_retention(spec),
        f"Pods Status:\t{_phases(client, item, selector)}", *templates.lines(spec.template),
        *storage.templates(spec.volumeClaimTemplates),
    ]  # fmt: skip


def _retention(spec: Any) -> list[str]:
    if not spec.HasField("persistentVolumeClaimRetentionPolicy"):
        return []
    policy = spec.persistentVolumeClaimRetentionPolicy
    lines = [f"  WhenDeleted:\t{policy.whenDeleted}", f"  WhenScaled:\t{policy.whenScaled}"]
    return ["Persistent Volume Claim Retention Policy:", *lines]


def _partition(update: Any) -> list[str]:
    """As kubectl, which shows maxUnavailable below a partition alone."""
    if not update.HasField("partition"):
        return []
    most = [f"  MaxUnavailable:\t{_number(update.maxUnavailable)}"] if update.HasField("maxUnavailable") else []
    return [f"  Partition:\t{update.partition}", *most]


def _head(item: Any, selector: str) -> list[str]:
    meta = item.metadata
    return [f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"Selector:\t{selector}", *_labels(meta)]


def _labels(meta: Any) -> list[str]:
    return [*pairs("Labels", meta.labels), *templates.annotation_lines("Annotations", meta.annotations)]


def _replicas(client: Any, item: Any, selector: str) -> list[str]:
    return [
        f"Replicas:\t{item.status.replicas} current / {item.spec.replicas} desired",
        f"Pods Status:\t{_phases(client, item, selector)}",
        *templates.lines(item.spec.template), *_conditions(item.status.conditions),
    ]  # fmt: skip


def _equalities(selector: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))


def _number(value: Any) -> str:
    return str(value.intVal) if value.type == 0 else str(value.strVal)


def _conditions(items: Iterable[Any]) -> list[str]:
    rows = [f"  {item.type} \t{item.status}\t{item.reason}" for item in items]
    return ["Conditions:", "  Type\tStatus\tReason", "  ----\t------\t------", *rows] if rows else []


def _replica_sets(client: Any, item: Any) -> list[str]:
    found = deployments.replica_sets(client, item)
    new = deployments.present(item, found)
    old = [each for each in found if each is not new]
    if not found:
        return []
    return [f"OldReplicaSets:\t{_sizes(old)}", f"NewReplicaSet:\t{_sizes([new] if new is not None else [])}"]


def _sizes(sets: list[Any]) -> str:
    texts = (f"{each.metadata.name} ({each.status.replicas}/{each.spec.replicas} replicas created)" for each in sets)
    return ", ".join(texts) or NONE


def _phases(client: Any, item: Any, selector: str) -> str:
    uid = item.metadata.uid
    pods = client.list(kinds.POD, item.metadata.namespace, labels=selector)
    owned = [pod for pod in pods if any(ref.controller and ref.uid == uid for ref in pod.metadata.ownerReferences)]
    names = (("Running", "Running"), ("Pending", "Waiting"), ("Succeeded", "Succeeded"), ("Failed", "Failed"))
    return " / ".join(f"{sum(pod.status.phase == phase for pod in owned)} {word}" for phase, word in names)
