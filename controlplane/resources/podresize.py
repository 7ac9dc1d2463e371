"""The subresource `resize`: cpu and memory of a pod's containers while they run.

Source: podResizeStrategy of registry/core/pod/strategy.go, and KEP-1287.
"""

from __future__ import annotations

from typing import Any

from controlplane.resources.resource import Subresource
from pinnace import heldresources
from pinnace.admission import pods
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.equality import same

_LISTS = ("containers", "initContainers")
_FIELDS = ("resources", "resizePolicy")


class Resize(Subresource[Pod]):
    """What a write says of anything but containers' resources and resize policies is dropped. Containers that are added,
    removed, renamed or moved are taken as they are, for validation to refuse."""

    is_desired_state = True
    rules = pods.RESIZE_RULES
    uses_quota = True

    def replace(self, stored: Pod, request: Pod) -> None:
        changed = [_take(stored.spec, request.spec, name) for name in _LISTS]
        if any(changed):
            # It is about other resources: the agent decides anew, and until then the new ones count.
            kept = [item for item in stored.status.conditions if item.type != heldresources.PENDING]
            del stored.status.conditions[:]
            stored.status.conditions.extend(kept)

    def applied(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        spec = manifest.get("spec")
        lists = {name: spec[name] for name in _LISTS if name in spec} if isinstance(spec, dict) else {}
        cut = {name: [_cut(item) for item in items] if isinstance(items, list) else items for name, items in lists.items()}
        return {**{key: manifest[key] for key in ("metadata",) if key in manifest}, "spec": cut}


def _cut(item: Any) -> Any:
    return {key: value for key, value in item.items() if key in ("name", *_FIELDS)} if isinstance(item, dict) else item


def _take(stored: Any, request: Any, name: str) -> bool:
    """Whether a list of containers has changed."""
    mine, others = getattr(stored, name), getattr(request, name)
    if [item.name for item in mine] != [item.name for item in others]:
        stored.ClearField(name)
        getattr(stored, name).extend(others)
        return True
    changed = False
    for old, new in zip(mine, others, strict=True):
        before = type(old)()
        before.CopyFrom(old)
        for field in _FIELDS:
            old.ClearField(field)
        old.resizePolicy.extend(new.resizePolicy)
        if new.HasField("resources"):
            old.resources.CopyFrom(new.resources)
        changed = changed or not same(before, old)
    return changed
