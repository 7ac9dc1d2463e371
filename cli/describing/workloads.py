"""Deployments and ReplicaSets as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describeDeployment and describeReplicaSet of kubectl's pkg/describe.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from cli.describing import templates
from cli.describing.templates import NONE, pairs
from cli.rollouts import deployments
from pinnace import kinds, labelselectors
from pinnace.kinds import Kind


def deployment(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec, status = item.metadata, item.spec, item.status
    created = datetime.fromtimestamp(meta.creationTimestamp.seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")
    lines = [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"CreationTimestamp:\t{created}",
        *pairs("Labels", meta.labels), *pairs("Annotations", meta.annotations, sign=": "),
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
    meta, spec = item.metadata, item.spec
    owners = [f"Controlled By:\t{ref.kind}/{ref.name}" for ref in meta.ownerReferences if ref.controller]
    return [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"Selector:\t{labelselectors.text(spec.selector)}",
        *pairs("Labels", meta.labels), *pairs("Annotations", meta.annotations, sign=": "), *owners,
        f"Replicas:\t{item.status.replicas} current / {spec.replicas} desired",
        f"Pods Status:\t{_phases(client, item)}",
        *templates.lines(spec.template), *_conditions(item.status.conditions),
    ]  # fmt: skip


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


def _phases(client: Any, item: Any) -> str:
    labels, uid = labelselectors.text(item.spec.selector), item.metadata.uid
    pods = client.list(kinds.POD, item.metadata.namespace, labels=labels)
    owned = [pod for pod in pods if any(ref.controller and ref.uid == uid for ref in pod.metadata.ownerReferences)]
    names = (("Running", "Running"), ("Pending", "Waiting"), ("Succeeded", "Succeeded"), ("Failed", "Failed"))
    return " / ".join(f"{sum(pod.status.phase == phase for pod in owned)} {word}" for phase, word in names)
