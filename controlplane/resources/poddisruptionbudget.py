"""PodDisruptionBudgets, and what an eviction may take of them.

An eviction and its budget are one transaction, so concurrent evictions never take more than is allowed.
Source: registry/core/pod/storage/eviction.go and registry/policy/poddisruptionbudget.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions
from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Strategy
from controlplane.store import Tx
from pinnace import codec, kinds, labelselectors
from pinnace.admission import poddisruptionbudgets
from pinnace.admission.poddisruptionbudgets import ALWAYS_ALLOW
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import Cause, Forbidden, Internal, TooManyRequests
from pinnace.meta.v1.scalars_pb2 import IntOrString
from pinnace.policy.v1.policy_pb2 import PodDisruptionBudget

# Evicted pods of one budget that are not yet seen to be deleted.
MAX_DISRUPTED = 2000
# Seconds after which a client may try again while the controller has not seen the budget's spec.
RETRY_AFTER = 10
DISRUPTION_ALLOWED, SYNC_FAILED = "DisruptionAllowed", "SyncFailed"
_VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."


def _bound(item: PodDisruptionBudget, name: str) -> Cell:
    value: IntOrString = getattr(item.spec, name)
    if not item.spec.HasField(name):
        return "N/A"
    return value.strVal if value.type else str(value.intVal)


def _cells(item: PodDisruptionBudget, now: float) -> tuple[Cell, ...]:
    bounds = _bound(item, "minAvailable"), _bound(item, "maxUnavailable")
    return item.metadata.name, *bounds, item.status.disruptionsAllowed, age(item, now)


_COLUMNS = (
    NAME,
    Column("Min Available", description="Pods that stay available."),
    Column("Max Unavailable", description="Pods that may be unavailable."),
    Column("Allowed Disruptions", "integer", description="Pods that may be evicted now."),
    AGE,
)
POD_DISRUPTION_BUDGET: Resource[PodDisruptionBudget] = Resource(
    kinds.POD_DISRUPTION_BUDGET, rules=poddisruptionbudgets.RULES, strategy=Strategy(), columns=Columns(_COLUMNS, _cells)
)


def selected_by(tx: Tx, pod: Pod) -> Iterable[PodDisruptionBudget]:
    """The budgets of a pod, read-only."""
    for row in tx.list_untracked(kinds.POD_DISRUPTION_BUDGET, pod.metadata.namespace):
        if selects(row.message, pod):
            yield row.message


def selects(item: PodDisruptionBudget, pod: Pod) -> bool:
    """No selector selects nothing, an empty one every pod of the namespace."""
    if item.metadata.namespace != pod.metadata.namespace or not item.spec.HasField("selector"):
        return False
    return labelselectors.matches(item.spec.selector, pod.metadata.labels)


def charge(tx: Tx, pod: Pod, now: float) -> None:
    """Take the eviction of a pod from its budget. Raises TooManyRequests, Forbidden; Internal for several budgets of a pod."""
    if pod.status.phase in ("Pending", "Succeeded", "Failed") or pod.metadata.deletionTimestamp.seconds:
        return
    found = list(selected_by(tx, pod))
    if len(found) > 1:
        raise Internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
    budget = tx.get(kinds.POD_DISRUPTION_BUDGET, pod.metadata.namespace, found[0].metadata.name) if found else None
    if budget is None or _is_free(budget, pod):
        return
    _check(budget)
    budget.status.disruptionsAllowed -= 1
    budget.status.disruptedPods[pod.metadata.name].CopyFrom(codec.time_of(now))
    if not budget.status.disruptionsAllowed:
        set_allowed(budget, now)
    tx.put(kinds.POD_DISRUPTION_BUDGET, budget)


def _is_free(budget: PodDisruptionBudget, pod: Pod) -> bool:
    """Whether a pod that is not ready may go without a charge."""
    ready = conditions.find(pod.status, "Ready")
    if ready is not None and ready.status == "True":
        return False
    if budget.spec.unhealthyPodEvictionPolicy == ALWAYS_ALLOW:
        return True
    return bool(budget.status.currentHealthy >= budget.status.desiredHealthy > 0)


def _check(budget: PodDisruptionBudget) -> None:
    name, status = budget.metadata.name, budget.status
    if status.observedGeneration < budget.metadata.generation:
        raise _violated(f"The disruption budget {name} is still being processed by the server.", retry_after=RETRY_AFTER)
    if len(status.disruptedPods) > MAX_DISRUPTED:
        text = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise Forbidden(f'poddisruptionbudgets.policy "{name}" is forbidden: {text}')
    if status.disruptionsAllowed <= 0:
        raise _violated(refusal(budget))


def refusal(budget: PodDisruptionBudget) -> str:
    """Why no eviction is allowed. The numbers mean nothing where the controller could not count."""
    status, found = budget.status, conditions.find(budget.status, DISRUPTION_ALLOWED)
    refused = found is not None and found.status == "False" and found.message != ""
    text = f"The disruption budget {budget.metadata.name}"
    if found is not None and refused and found.reason == SYNC_FAILED:
        return f"{text} does not allow evicting pods currently because it failed sync: {found.message}"
    if status.currentHealthy <= status.desiredHealthy:
        return f"{text} needs {status.desiredHealthy} healthy pods and has {status.currentHealthy} currently"
    why = f" ({found.reason}): {found.message}" if found is not None and refused else ""
    return f"{text} does not allow evicting pods currently{why}"


def _violated(text: str, *, retry_after: int = 0) -> TooManyRequests:
    return TooManyRequests(_VIOLATED, causes=(Cause("", text, "DisruptionBudget"),), retry_after=retry_after)


def set_allowed(budget: PodDisruptionBudget, now: float) -> None:
    """The condition that follows from the number."""
    status: Any = budget.status
    value, reason = ("True", "SufficientPods") if status.disruptionsAllowed > 0 else ("False", "InsufficientPods")
    conditions.put(status, DISRUPTION_ALLOWED, value, now=now, reason=reason)
    found = conditions.find(status, DISRUPTION_ALLOWED)
    assert found is not None
    found.observedGeneration = status.observedGeneration
