"""What may change of a pod: it is replaced rather than updated.

Source: core/v1's ValidatePodUpdate and ValidatePodEphemeralContainersUpdate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pinnace import fielderrors, podresources
from pinnace.admission import podannotations, schedulinggates
from pinnace.equality import same
from pinnace.errors import Cause
from pinnace.messages import clone

_ALLOWED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)"
)


def validate(old: Any, new: Any) -> list[Cause]:
    errors = [*podannotations.validate_update(old, new)]
    for field in ("containers", "initContainers"):
        if len(getattr(old.spec, field)) != len(getattr(new.spec, field)):
            return [*errors, fielderrors.forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
    errors += [*_deadline(old.spec, new.spec), *_tolerations(old.spec.tolerations, new.spec.tolerations)]
    errors += schedulinggates.validate_update(old.spec, new.spec)
    if old.spec != new.spec and not same(_with_changes(old, new), new.spec):
        changed = ", ".join(_changed(old, new))
        errors.append(fielderrors.forbidden("spec", f"{_ALLOWED} (changed: {changed})"))
    return errors


def validate_ephemeral(old: Any, new: Any) -> list[Cause]:
    """Of a write through the subresource `ephemeralcontainers`, which changes nothing else."""
    return list(_ephemeral(old, new))


def _with_changes(old: Any, new: Any) -> Any:
    """The old spec with what may change as the new one has it."""
    spec = clone(old.spec)
    for field in ("containers", "initContainers"):
        for before, after in zip(getattr(spec, field), getattr(new.spec, field), strict=True):
            before.image = after.image
    for field in ("activeDeadlineSeconds", "tolerations"):
        spec.ClearField(field)
    if new.spec.HasField("activeDeadlineSeconds"):
        spec.activeDeadlineSeconds = new.spec.activeDeadlineSeconds
    spec.tolerations.MergeFrom(new.spec.tolerations)
    schedulinggates.with_changes(spec, new.spec)
    return spec


def _changed(old: Any, new: Any) -> list[str]:
    """The fields of a spec that changed and may not."""
    allowed = _with_changes(old, new)
    names = [field.name for field in new.spec.DESCRIPTOR.fields]
    return [name for name in names if not same(_alone(allowed, name), _alone(new.spec, name))]


def _alone(spec: Any, name: str) -> Any:
    """A spec with one of the fields."""
    out = type(spec)()
    out.CopyFrom(spec)
    for field in spec.DESCRIPTOR.fields:
        if field.name != name:
            out.ClearField(field.name)
    return out


def _deadline(old: Any, new: Any) -> Iterator[Cause]:
    field, before, after = "spec.activeDeadlineSeconds", old.activeDeadlineSeconds, new.activeDeadlineSeconds
    if not old.HasField("activeDeadlineSeconds"):
        return
    if not new.HasField("activeDeadlineSeconds"):
        yield fielderrors.invalid(field, None, "must not update from a positive integer to nil value")
    elif before < after:
        yield fielderrors.invalid(field, after, "must be less than or equal to previous value")


def _tolerations(old: Iterable[Any], new: Iterable[Any]) -> Iterator[Cause]:
    """Additions, and other tolerationSeconds."""
    if old == new:
        return
    kept = [_without_seconds(item) for item in new]
    if any(_without_seconds(item) not in kept for item in old):
        text = "existing toleration can not be modified except its tolerationSeconds"
        yield fielderrors.forbidden("spec.tolerations", text)


def _without_seconds(toleration: Any) -> tuple[str, ...]:
    return (toleration.key, toleration.operator or "Equal", toleration.value, toleration.effect)


def _ephemeral(old: Any, new: Any) -> Iterator[Cause]:
    """Ephemeral containers may be added, and nothing else."""
    field = "spec.ephemeralContainers"
    if new.spec.ephemeralContainers and podresources.MIRROR in new.metadata.annotations:
        yield fielderrors.forbidden("", "static pods do not support ephemeral containers")
    if not old.spec.ephemeralContainers:
        return
    after = {item.ephemeralContainerCommon.name: item for item in new.spec.ephemeralContainers}
    for item in old.spec.ephemeralContainers:
        name = item.ephemeralContainerCommon.name
        if name not in after or not same(after[name], item):
            verb = "changed" if name in after else "removed"
            yield fielderrors.forbidden(field, f"existing ephemeral containers {fielderrors.shown(name)} may not be {verb}")
