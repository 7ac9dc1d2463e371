"""Rollbacks of a Deployment that an annotation requests, as clients of extensions/v1beta1 did. Pure.

`kubectl rollout undo` changes the template itself. Source: kube-controller-manager's deployment/rollback.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.controllers import revisions
from pinnace.apps.v1.deployment_pb2 import Deployment
from pinnace.apps.v1.replicaset_pb2 import ReplicaSet
from pinnace.messages import clone

ANNOTATION = "deprecated.deployment.rollback.to"
# Digits of an int64.
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Rollback:
    """The Deployment to store, without the request, and the event about it."""

    item: Deployment
    reason: str
    message: str
    warning: bool = True


def requested(item: Deployment) -> int | None:
    """The revision to return to, 0 for the one before the present; None without a request, and for an invalid one."""
    text = item.metadata.annotations.get(ANNOTATION, "")
    return int(text) if _NUMBER.fullmatch(text) else None


def perform(item: Deployment, sets: Iterable[ReplicaSet], revision: int) -> Rollback:
    """Return to the template of a revision, and to its annotations, if there is one with another template."""
    sets, changed, name = list(sets), clone(item), item.metadata.name
    del changed.metadata.annotations[ANNOTATION]
    revision = revision or _before_last(sets)
    if not revision:
        return Rollback(changed, "DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
    found = next((each for each in sets if revisions.number(each) == revision), None)
    if found is None:
        return Rollback(changed, "DeploymentRollbackRevisionNotFound", "Unable to find the revision to rollback to.")
    if revisions.has_template(found, item.spec.template):
        text = f'The rollback revision contains the same template as current deployment "{name}"'
        return Rollback(changed, "DeploymentRollbackTemplateUnchanged", text)
    _restore(changed, found)
    return Rollback(changed, "DeploymentRollback", f'Rolled back deployment "{name}" to revision {revision}', warning=False)


def _before_last(sets: Iterable[ReplicaSet]) -> int:
    """The second highest revision; 0 without one."""
    numbers = sorted((revisions.number(each) for each in sets), reverse=True)
    return numbers[1] if len(numbers) > 1 else 0


def _restore(changed: Deployment, found: ReplicaSet) -> None:
    changed.spec.template.CopyFrom(found.spec.template)
    changed.spec.template.metadata.labels.pop(revisions.HASH, None)
    annotations = changed.metadata.annotations
    for key in [key for key in annotations if key not in revisions.NOT_COPIED]:
        del annotations[key]
    annotations.update({key: value for key, value in found.metadata.annotations.items() if key not in revisions.NOT_COPIED})
