"""What workloads have in common: their selector, the subresource `scale`, and cells about their template."""

from __future__ import annotations

from typing import Any

from controlplane.resources.columns import NONE, Column, wide
from controlplane.resources.resource import Subresource
from controlplane.resources.scale import FORM
from pinnace import labelselectors
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
