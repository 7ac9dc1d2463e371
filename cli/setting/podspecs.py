"""The pod spec in an object's manifest, its containers, and the patch from one form of it to another. Pure.

Source: kubectl's pkg/cmd/set/helper.go and pkg/polymorphichelpers/updatepodspec.go.
"""

from __future__ import annotations

import re
from typing import Any

from pinnace.errors import BadRequest
from pinnace.kinds import Kind

Spec = dict[str, Any]
LISTS = ("initContainers", "containers")
# Maps of resources, which a patch merges.
_AMOUNTS = ("limits", "requests")


def path(kind: Kind, name: str) -> tuple[str, ...]:
    """Where the pod spec is: of a pod, of an object with a template, or of one with a template of Jobs. Raises BadRequest for
    other kinds."""
    if kind.kind == "Pod":
        return ("spec",)
    for steps in (("spec", "template"), ("spec", "jobTemplate", "spec", "template")):
        if _type_at(kind.cls.DESCRIPTOR, steps) == "PodTemplateSpec":
            return (*steps, "spec")
    raise BadRequest(f"{kind.plural}/{name} the object is not a pod or does not have a pod template")


def _type_at(descriptor: Any, steps: tuple[str, ...]) -> str:
    """The name of the message in a field; empty without one."""
    for step in steps:
        field = descriptor.fields_by_name.get(step) if descriptor is not None else None
        descriptor = field.message_type if field is not None else None
    return str(descriptor.name) if descriptor is not None else ""


def at(document: dict[str, Any], steps: tuple[str, ...]) -> Spec:
    for step in steps:
        document = document.setdefault(step, {})
    return document


def below(steps: tuple[str, ...], value: Spec) -> dict[str, Any]:
    """A document with nothing but this spec."""
    for step in reversed(steps):
        value = {step: value}
    return value


def containers(spec: Spec, pattern: str) -> list[Spec]:
    """Containers, then init containers, whose names match; `*` stands for any characters."""
    wanted = re.compile(".*".join(map(re.escape, pattern.split("*"))))
    every = [item for field in reversed(LISTS) for item in spec.get(field, ())]
    return [item for item in every if wanted.fullmatch(item.get("name", ""))]


def patch(before: Spec, after: Spec) -> Spec:
    """The strategic merge patch from one spec to the other; empty without a difference.

    Only what `kctl set` changes is compared: images, environments and resources of containers, and the service account."""
    found: Spec = {}
    for field in LISTS:
        pairs = zip(before.get(field, ()), after.get(field, ()), strict=True)
        changed = [change for old, new in pairs if len(change := _container(old, new)) > 1]
        if changed:
            found[field] = changed
    if before.get("serviceAccountName") != after.get("serviceAccountName"):
        found["serviceAccountName"] = after["serviceAccountName"]
    return found


def _container(old: Spec, new: Spec) -> Spec:
    """The name alone without a difference."""
    found = {"name": new["name"]}
    if old.get("image") != new.get("image"):
        found["image"] = new["image"]
    if env := _env(old.get("env", []), new.get("env", [])):
        found |= {"env": env, "$setElementOrder/env": [{"name": item["name"]} for item in new["env"]]}
    amounts = {key: new["resources"][key] for key in _AMOUNTS if _amounts(old, key) != _amounts(new, key)}
    return {**found, "resources": amounts} if amounts else found


def _amounts(container: Spec, key: str) -> Any:
    return container.get("resources", {}).get(key)


def _env(old: list[Spec], new: list[Spec]) -> list[Spec]:
    """Variables that differ, with a null for the way in which one has no longer a value, and those to delete."""
    before, after = ({item["name"]: item for item in items} for items in (old, new))
    changed = [
        {**dict.fromkeys(before.get(name, {}).keys() - item.keys()), **item}
        for name, item in after.items()
        if before.get(name) != item
    ]
    return changed + [{"name": name, "$patch": "delete"} for name in before if name not in after]
