"""Conflicts of an apply: what it changes of other managers' fields, in kube-apiserver's words."""

from __future__ import annotations

from controlplane.requests import fieldsets
from controlplane.requests.fieldwalk import Comparison
from controlplane.requests.managers import UPDATE, Owners
from pinnace.errors import Cause, Conflict


def check(change: Comparison, owners: Owners, *, force: bool) -> None:
    """Raises Conflict without `force`."""
    if force or not change.changed:
        return
    causes = []
    for owner, entry in owners.items():
        using = f'conflict with "{owner.manager}"'
        if owner.subresource:
            using += f' with subresource "{owner.subresource}"'
        if owner.operation == UPDATE:
            using += f" using {entry.version}"
        for path in fieldsets.intersection(entry.fields, change.changed):
            causes.append(Cause("." + fieldsets.readable(path), using, "FieldManagerConflict"))
    if causes:
        raise Conflict(_message(causes), causes=tuple(causes))


def _message(causes: list[Cause]) -> str:
    """As kube-apiserver words it: one conflict on one line, several in a list for each manager."""
    if len(causes) == 1:
        return f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    lines = []
    for text in sorted({cause.message for cause in causes}):
        lines.append(text.replace("conflict with", "conflicts with", 1) + ":")
        lines += [f"- {cause.field}" for cause in causes if cause.message == text]
    return f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
