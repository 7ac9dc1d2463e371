"""The subresource `scale` of custom kinds: the number of replicas as an autoscaling/v1 Scale.

Source: ScaleREST in apiextensions-apiserver's pkg/registry/customresource/etcd.go.
"""

from __future__ import annotations

from typing import Any

from controlplane.customresources.content import put_tree, tree_of
from controlplane.customresources.scale import ScalePaths
from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource, Subresource
from pinnace import kinds
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.autoscaling.v1.scale_pb2 import Scale
from pinnace.errors import BadRequest, Internal

# Stands for replicas that the object does not have, in what a patch is applied to.
_UNSET = -(1 << 31)
_SHARED = ("name", "namespace", "uid", "resourceVersion")


def _cells(item: Scale, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, item.spec.replicas, item.status.replicas, age(item, now)


_DESIRED = Column("Desired", "integer", description="Number of wanted replicas.")
_AVAILABLE = Column("Available", "integer", description="Number of observed replicas.")
FORM = Resource(kinds.SCALE, columns=Columns((NAME, _DESIRED, _AVAILABLE, AGE), _cells))


class ScaleSubresource(Subresource[CustomResource]):
    """The replicas at the paths that a definition names. A write is an update of the object: its rules hold."""

    form = FORM
    is_desired_state = True

    def __init__(self, paths: ScalePaths) -> None:
        self._paths = paths

    def applied(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """The wanted replicas at their place in the object."""
        spec, tree = manifest.get("spec"), dict[str, Any]()
        replicas = spec.get("replicas") if isinstance(spec, dict) else None
        if isinstance(replicas, int):
            self._paths.put(tree, replicas)
        return tree

    def view(self, stored: CustomResource) -> Scale:
        """Raises Internal for an object without wanted replicas."""
        scale = self.base(stored)
        if scale.spec.replicas == _UNSET:
            raise Internal(f'the spec replicas field "{self._paths.spec}" does not exist')
        return scale

    def base(self, stored: CustomResource) -> Scale:
        tree, scale = tree_of(stored), Scale()
        for name in _SHARED:
            setattr(scale.metadata, name, getattr(stored.metadata, name))
        scale.metadata.creationTimestamp.CopyFrom(stored.metadata.creationTimestamp)
        wanted = self._paths.wanted(tree)
        scale.spec.replicas = _UNSET if wanted is None else wanted
        scale.status.replicas = self._paths.observed(tree)
        scale.status.selector = self._paths.selected(tree)
        return scale

    def replace(self, stored: CustomResource, request: Scale) -> None:  # type: ignore[override]
        """Raises BadRequest for a patch that leaves replicas unset."""
        if request.spec.replicas == _UNSET:
            raise BadRequest(f'the spec replicas field "{self._paths.spec}" cannot be empty')
        tree = tree_of(stored)
        self._paths.put(tree, request.spec.replicas)
        put_tree(stored, tree)
