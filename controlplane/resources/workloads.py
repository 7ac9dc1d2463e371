"""What workloads have in common: their selector, the subresource `scale`, and cells about their template."""

from __future__ import annotations

from typing import Any

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age, wide
from controlplane.resources.resource import Strategy, Subresource
from controlplane.resources.scale import FORM
from pinnace import formats, labelselectors
from pinnace.admission import podtemplates
from pinnace.autoscaling.v1.scale_pb2 import Scale
from pinnace.meta.v1.meta_pb2 import LabelSelector

_SHARED = ("name", "namespace", "uid", "resourceVersion")

TEMPLATE_COLUMNS: tuple[Column, ...] = (
    wide("Containers", "Names of the template's containers."),
    wide("Images", "Images of the template's containers."),
    wide("Selector", "Label selector of the pods."),
)


def selector_of(spec: Any) -> LabelSelector:
    """The selector of a workload's spec, also where it is a map of labels."""
    return spec.selector if isinstance(spec.selector, LabelSelector) else LabelSelector(matchLabels=spec.selector)


def template_cells(spec: Any) -> tuple[str, ...]:
    """Cells of TEMPLATE_COLUMNS."""
    containers = spec.template.spec.containers
    names, images = (",".join(getattr(container, field) for container in containers) for field in ("name", "image"))
    return names or NONE, images or NONE, labelselectors.text(selector_of(spec)) or NONE


class TemplateStrategy(Strategy[Any]):
    """Of a workload that makes pods from `spec.template`."""

    def warnings(self, new: Any, old: Any | None) -> list[str]:
        """Those of its pods, when the template is new or changes."""
        changed = old is None or old.spec.template != new.spec.template
        return podtemplates.warnings(new.spec.template, "spec.template") if changed else []


class NamedTemplateStrategy(TemplateStrategy):
    """Of a workload whose name begins those of its pods, without a rule for that."""

    def warnings(self, new: Any, old: Any | None) -> list[str]:
        return [*(name_warnings(new) if old is None else ()), *super().warnings(new, old)]


def name_warnings(item: Any) -> list[str]:
    """Of a new workload whose name is no DNS label."""
    found = formats.dns_label(item.metadata.name)
    text = (
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is "
        f"recommended: [{' '.join(found)}]"
    )
    return [text] if found else []


def _replica_cells(item: Any, now: float) -> tuple[Cell, ...]:
    counts = item.spec.replicas, item.status.replicas, item.status.readyReplicas
    return item.metadata.name, *counts, age(item, now), *template_cells(item.spec)


# Of ReplicaSets and ReplicationControllers.
REPLICA_COLUMNS: Columns[Any] = Columns(
    (
        NAME,
        Column("Desired", "integer", description="Number of wanted pods."),
        Column("Current", "integer", description="Number of pods."),
        Column("Ready", "integer", description="Number of ready pods."),
        AGE,
        *TEMPLATE_COLUMNS,
    ),
    _replica_cells,
)


class Replicas(Subresource[Any]):
    """The number of replicas of a workload as an autoscaling/v1 Scale. A write is an update of the object.

    Source: registry/apps's storage of deployments, replicasets and statefulsets (ScaleREST)."""

    form = FORM
    is_desired_state = True

    def applied(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        spec = manifest.get("spec")
        replicas = spec.get("replicas") if isinstance(spec, dict) else None
        return {"spec": {"replicas": replicas}} if isinstance(replicas, int) else {}

    def view(self, stored: Any) -> Scale:
        scale = Scale()
        for name in _SHARED:
            setattr(scale.metadata, name, getattr(stored.metadata, name))
        scale.metadata.creationTimestamp.CopyFrom(stored.metadata.creationTimestamp)
        scale.spec.replicas = stored.spec.replicas
        scale.status.replicas = stored.status.replicas
        scale.status.selector = labelselectors.text(selector_of(stored.spec))
        return scale

    def replace(self, stored: Any, request: Any) -> None:
        stored.spec.replicas = request.spec.replicas
