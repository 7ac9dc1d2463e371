"""PodDisruptionBudgets as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describePodDisruptionBudgetV1 of kubectl's pkg/describe.
"""

from __future__ import annotations

from typing import Any

from pinnace import labelselectors
from pinnace.kinds import Kind


def disruption_budget(client: Any, kind: Kind, item: Any) -> list[str]:
    spec, status = item.spec, item.status
    selector = (labelselectors.text(spec.selector) or "<none>") if spec.HasField("selector") else "<unset>"
    return [
        f"Name:\t{item.metadata.name}", f"Namespace:\t{item.metadata.namespace}", *_bound(spec), f"Selector:\t{selector}",
        "Status:", f"    Allowed disruptions:\t{status.disruptionsAllowed}", f"    Current:\t{status.currentHealthy}",
        f"    Desired:\t{status.desiredHealthy}", f"    Total:\t{status.expectedPods}",
    ]  # fmt: skip


def _bound(spec: Any) -> list[str]:
    for title, field in (("Min available", "minAvailable"), ("Max unavailable", "maxUnavailable")):
        if spec.HasField(field):
            value = getattr(spec, field)
            return [f"{title}:\t{value.intVal if value.type == 0 else value.strVal}"]
    return []
