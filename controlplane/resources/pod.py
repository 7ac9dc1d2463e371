"""Pods: their first status, the time that one takes to stop, and what one uses of a quota.

Source: registry/core/pod/strategy.go, and kube-controller-manager's evaluator of pods for quotas.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age, wide
from controlplane.resources.indexes import NODE
from controlplane.resources.podactions import Bind, Evict
from controlplane.resources.podresize import Resize
from controlplane.resources.resource import PROXIED, QuotaScope, Resource, Strategy, Stream, Subresource, Usage
from pinnace import heldresources, humantime, kinds, persistentvolumes, podresources, podstatus, selectors
from pinnace.admission import affinity, pods, podwarnings
from pinnace.admission.resourcequotas import BEST_EFFORT, COMPUTE, NOT_BEST_EFFORT, NOT_TERMINATING, PRIORITY_CLASS, TERMINATING
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.podreferences import config_keys
from pinnace.remembered import Remembered

_MUST_STATE = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_ENDED = ("Succeeded", "Failed")

# The index of pods by their node and each object that they name, and that by `namespace/name` of each claim.
NAMED_ON_NODE, CLAIM = "namedOnNode", "claim"
# The index of pods by `namespace/key=value` of each label, for what selects pods of one namespace.
BY_LABEL = "namespacedLabel"


def named_value(node: str, key: str) -> str:
    """The value in the index of the pods of a node that name the object at a store key."""
    return f"{node}\0{key}"


def _by_name_on_node(pod: Pod) -> Sequence[str]:
    node = pod.spec.nodeName
    if not node:
        return ()
    account = kinds.SERVICE_ACCOUNT.key(pod.metadata.namespace, pod.spec.serviceAccountName)
    return [named_value(node, key) for key in (*config_keys(pod), account)]


def _by_label(pod: Pod) -> Sequence[str]:
    return [f"{pod.metadata.namespace}/{key}={value}" for key, value in pod.metadata.labels.items()]


def _by_claim(pod: Pod) -> Sequence[str]:
    return [f"{pod.metadata.namespace}/{claim.name}" for claim in persistentvolumes.claims_of(pod)]


_qos_class = Remembered(podresources.qos_class)


class _Strategy(Strategy[Pod]):
    def prepare_for_create(self, new: Pod) -> None:
        new.status.phase = "Pending"
        new.status.qosClass = _qos_class(new.spec)
        affinity.apply_label_keys(new)
        if new.spec.schedulingGates:
            text = "Scheduling is blocked due to non-empty scheduling gates"
            new.status.conditions.add(type="PodScheduled", status="False", reason=podstatus.GATED, message=text)

    def warnings(self, new: Pod, old: Pod | None) -> list[str]:
        return podwarnings.warnings(new, old)

    def grace_period(self, stored: Pod, requested: int | None) -> int:
        """Where nothing runs, nothing has to stop."""
        if not stored.spec.nodeName or stored.status.phase in _ENDED:
            return 0
        return stored.spec.terminationGracePeriodSeconds if requested is None else requested

    def is_settled(self, stored: Pod) -> bool:
        """Its agent sets the grace period to 0 when the containers have stopped."""
        return stored.metadata.deletionGracePeriodSeconds == 0

    quota_resources = frozenset({"pods", *COMPUTE})

    def quota_usage(self, item: Pod, now: float) -> Usage:
        """Nothing of a pod that has ended, or that should have stopped a grace period ago."""
        meta = item.metadata
        overdue = meta.deletionTimestamp.seconds and now > meta.deletionTimestamp.seconds + meta.deletionGracePeriodSeconds
        if item.status.phase in _ENDED or overdue:
            return {}
        return {"pods": 1, **_compute(heldresources.requests(item), heldresources.limits(item))}

    def quota_missing(self, item: Pod, hard: Container[str]) -> str:
        """Each container states what a quota bounds of cpu and memory."""
        missing: dict[str, set[str]] = {}
        for container in (*item.spec.containers, *item.spec.initContainers):
            stated = _compute(container.resources.requests, container.resources.limits)
            for name in _MUST_STATE:
                if name in hard and name not in stated:
                    missing.setdefault(name, set()).add(container.name)
        found = [f"{name} for: {','.join(sorted(names))}" for name, names in sorted(missing.items())]
        return f"must specify {'; '.join(found)}" if found else ""

    def in_quota_scope(self, item: Pod, scope: QuotaScope) -> bool:
        spec = item.spec
        if scope.name in (TERMINATING, NOT_TERMINATING):
            return spec.HasField("activeDeadlineSeconds") is (scope.name == TERMINATING)
        if scope.name in (BEST_EFFORT, NOT_BEST_EFFORT):
            return (podresources.qos_class(spec) == podresources.BEST_EFFORT) is (scope.name == BEST_EFFORT)
        labels = {PRIORITY_CLASS: spec.priorityClassName} if spec.priorityClassName else {}
        return selectors.Requirement(scope.name, scope.operator, scope.values).matches(labels)


def _compute(requests: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """Requests are also known by the resource's name alone."""
    return {
        **requests,
        **{f"requests.{name}": amount for name, amount in requests.items()},
        **{f"limits.{name}": amount for name, amount in limits.items()},
    }


_COLUMNS = (
    NAME,
    Column("Ready", description="Number of containers that are ready, and of all that keep running."),
    Column("Status", description="What the containers do, or why they do not run."),
    Column("Restarts", description="How often containers were restarted, and how long ago for the last time."),
    AGE,
    wide("IP", "First address of the pod."),
    wide("Node", "Node on which the pod runs."),
    wide("Nominated Node", "Node that the scheduler has in mind for the pod."),
    wide("Readiness Gates", "Number of readiness gates that are met, and of all."),
)


def _cells(item: Pod, now: float) -> tuple[Cell, ...]:
    found = podstatus.summarize(item)
    ready, restarts = f"{found.ready}/{found.total}", str(found.restarts)
    if found.restarts and found.last_restart:
        restarts += f" ({humantime.since(found.last_restart, now)} ago)"
    address = item.status.podIPs[0].ip if item.status.podIPs else item.status.podIP
    return (
        item.metadata.name, ready, found.status, restarts, age(item, now),
        address or NONE, item.spec.nodeName or NONE, item.status.nominatedNodeName or NONE, _gates(item),
    )  # fmt: skip


def _gates(item: Pod) -> str:
    gates = item.spec.readinessGates
    if not gates:
        return NONE
    # The first condition of a type counts.
    true = {condition.type: condition.status == "True" for condition in reversed(item.status.conditions)}
    return f"{sum(true.get(gate.conditionType, False) for gate in gates)}/{len(gates)}"


class EphemeralContainers(Subresource[Pod]):
    """The ephemeral containers of the spec, which can only be added to."""

    is_desired_state = True
    rules = pods.EPHEMERAL_CONTAINERS_RULES

    def applied(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        spec = manifest.get("spec")
        added = spec.get("ephemeralContainers") if isinstance(spec, dict) else None
        return {"spec": {"ephemeralContainers": added}} if added else {}

    def replace(self, stored: Pod, request: Pod) -> None:
        stored.spec.ClearField("ephemeralContainers")
        stored.spec.ephemeralContainers.extend(request.spec.ephemeralContainers)


# WebSocket begins with GET, SPDY with POST.
CONNECT = ("create", "get")

POD = Resource(
    kinds.POD,
    rules=pods.RULES,
    strategy=_Strategy(),
    categories=("all",),
    returns_deleted=True,
    subresources={"ephemeralcontainers": EphemeralContainers(), "resize": Resize()},
    actions={"binding": Bind(), "eviction": Evict()},
    streams={
        "attach": Stream(CONNECT, "PodAttachOptions"), "exec": Stream(CONNECT, "PodExecOptions"), "log": Stream(("get",)),
        "portforward": Stream(CONNECT, "PodPortForwardOptions"), "proxy": Stream(PROXIED, "PodProxyOptions"),
    },
    selectable={
        NODE: lambda item: item.spec.nodeName,
        "spec.restartPolicy": lambda item: item.spec.restartPolicy,
        "spec.schedulerName": lambda item: item.spec.schedulerName,
        "spec.serviceAccountName": lambda item: item.spec.serviceAccountName,
        "status.phase": lambda item: item.status.phase,
        "status.podIP": lambda item: item.status.podIP,
        "status.nominatedNodeName": lambda item: item.status.nominatedNodeName,
    },
    indexed=(NODE,),
    own_indexes={NAMED_ON_NODE: _by_name_on_node, CLAIM: _by_claim, BY_LABEL: _by_label},
    columns=Columns(_COLUMNS, _cells),
)  # fmt: skip
