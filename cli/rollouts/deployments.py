"""Rollouts of Deployments, whose ReplicaSets are the versions of the template.

Source: kubectl's pkg/polymorphichelpers (rollout_status.go, history.go, rollback.go, objectpauser.go) and pkg/util/deployment.
"""

from __future__ import annotations

from typing import Any

from cli.rollouts.model import Progressed, Revision, Undo
from pinnace import codec, kinds, labelselectors
from pinnace.equality import same
from pinnace.errors import BadRequest
from pinnace.messages import clone

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
# Annotations that belong to a Deployment or a ReplicaSet and not to a version of the template.
OWN_ANNOTATIONS = frozenset((
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas", "deprecated.deployment.rollback.to",
))  # fmt: skip


class Deployments:
    """Implements `table.Rollout`."""

    def progress(self, item: Any, revision: int) -> Progressed:
        if revision and revision != (running := number(item)):
            raise BadRequest(f"desired revision ({revision}) is different from the running revision ({running})")
        if item.metadata.generation > item.status.observedGeneration:
            return Progressed("Waiting for deployment spec update to be observed...", False)
        name = item.metadata.name
        if any(each.type == "Progressing" and each.reason == "ProgressDeadlineExceeded" for each in item.status.conditions):
            raise BadRequest(f'deployment "{name}" exceeded its progress deadline')
        left = _left(item)
        if left:
            return Progressed(f'Waiting for deployment "{name}" rollout to finish: {left}...', False)
        return Progressed(f'deployment "{name}" successfully rolled out', True)

    def history(self, client: Any, item: Any) -> dict[int, Revision]:
        return {
            number(each): Revision(each.spec.template, each.metadata.annotations.get(CHANGE_CAUSE, ""), kinds.REPLICA_SET, each)
            for each in replica_sets(client, item)
            if number(each)
        }

    def chosen(self, item: Any, found: dict[int, Revision], number: int) -> Revision:
        if number and number not in found:
            raise BadRequest(f"unable to find specified revision {number} in history")
        if number:
            return found[number]
        if len(found) < 2:
            raise BadRequest(f'no rollout history found for deployment "{item.metadata.name}"')
        return found[sorted(found)[-2]]

    def undoing(self, item: Any, revision: Revision) -> Undo | None:
        if item.spec.paused:
            raise BadRequest(
                "you cannot rollback a paused deployment; resume it first with 'kctl rollout resume' and try again"
            )
        if same(without_hash(revision.template), without_hash(item.spec.template)):
            return None
        kept = {key: text for key, text in item.metadata.annotations.items() if key in OWN_ANNOTATIONS}
        restored = {key: text for key, text in revision.source.metadata.annotations.items() if key not in OWN_ANNOTATIONS}
        return Undo("JSON", [
            {"op": "replace", "path": "/spec/template", "value": codec.encode(without_hash(revision.template))},
            {"op": "add", "path": "/metadata/annotations", "value": {**kept, **restored}},
        ])  # fmt: skip

    def pausing(self, item: Any, *, paused: bool) -> dict[str, Any]:
        if item.spec.paused == paused:
            raise BadRequest("is already paused" if paused else "is not paused")
        # As kubectl, which removes the field instead of writing its default.
        return {"spec": {"paused": True if paused else None}}

    def check_restart(self, item: Any) -> None:
        if item.spec.paused:
            raise BadRequest("can't restart paused deployment (run rollout resume first)")


def _left(item: Any) -> str:
    """What is left to do until the rollout is complete; empty then."""
    status, replicas = item.status, item.spec.replicas
    if status.updatedReplicas < replicas:
        return f"{status.updatedReplicas} out of {replicas} new replicas have been updated"
    if status.replicas > status.updatedReplicas:
        return f"{status.replicas - status.updatedReplicas} old replicas are pending termination"
    if status.availableReplicas < status.updatedReplicas:
        return f"{status.availableReplicas} of {status.updatedReplicas} updated replicas are available"
    return ""


def number(item: Any) -> int:
    """The revision of a Deployment or a ReplicaSet; 0 without one."""
    text = item.metadata.annotations.get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def replica_sets(client: Any, item: Any) -> list[Any]:
    """Those that the Deployment owns, oldest first. Raises ApiError."""
    meta = item.metadata
    found = client.list(kinds.REPLICA_SET, meta.namespace, labels=labelselectors.text(item.spec.selector))
    owned = [each for each in found if any(ref.controller and ref.uid == meta.uid for ref in each.metadata.ownerReferences)]
    return sorted(owned, key=lambda each: (each.metadata.creationTimestamp.seconds, each.metadata.name))


def present(item: Any, sets: list[Any]) -> Any | None:
    """The first ReplicaSet of the present template: the oldest of `replica_sets`."""
    wanted = without_hash(item.spec.template)
    return next((each for each in sets if same(without_hash(each.spec.template), wanted)), None)


def without_hash(template: Any) -> Any:
    """The template without the label that its ReplicaSet adds."""
    found = clone(template)
    found.metadata.labels.pop(HASH, None)
    return found
