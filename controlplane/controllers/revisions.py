"""Versions of a Deployment's template: the ReplicaSet of each, its name, and its number in annotations.

Source: kube-controller-manager's deployment/sync.go (getNewReplicaSet) and util/deployment_util.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from controlplane.controllers import rollout
from pinnace import equality
from pinnace.apps.v1.deployment_pb2 import Deployment
from pinnace.apps.v1.replicaset_pb2 import ReplicaSet
from pinnace.messages import clone

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
# Annotations of a Deployment that its ReplicaSets do not get.
NOT_COPIED = frozenset((
    "kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, rollout.DESIRED, rollout.MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
))  # fmt: skip
# Characters of a revision history; the oldest numbers are dropped.
MAX_HISTORY = 2000
# Characters of a ReplicaSet's name.
MAX_NAME = 253
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_HASH_LENGTH = 10


def template_hash(template: Any, collisions: int) -> str:
    """Ten characters that follow from a template; another ten for each collision that was seen."""
    text = template.SerializeToString(deterministic=True) + b"\0%d" % collisions
    number = int.from_bytes(hashlib.sha256(text).digest()[:8])
    letters = ""
    while len(letters) < _HASH_LENGTH:
        number, at = divmod(number, len(_LETTERS))
        letters += _LETTERS[at]
    return letters


def has_template(item: ReplicaSet, template: Any) -> bool:
    """Whether it is that of a ReplicaSet, which adds its hash."""
    found = clone(item.spec.template)
    found.metadata.labels.pop(HASH, None)
    wanted = template
    if HASH in template.metadata.labels:
        wanted = clone(template)
        wanted.metadata.labels.pop(HASH)
    return equality.same(found, wanted)


def find_new(item: Deployment, sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """The oldest ReplicaSet of the present template."""
    found = [each for each in sets if has_template(each, item.spec.template)]
    return min(found, key=lambda each: (each.metadata.creationTimestamp.seconds, each.metadata.name), default=None)


def number(item: Any) -> int:
    """The revision in an object's annotation; 0 without one."""
    text = item.metadata.annotations.get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def next_number(sets: Iterable[ReplicaSet]) -> int:
    return max((number(each) for each in sets), default=0) + 1


def annotate(item: Deployment, new: ReplicaSet, revision: int, *, exists: bool) -> None:
    """Copy annotations of the Deployment to the ReplicaSet, and number it; one that was used before keeps its history."""
    annotations = new.metadata.annotations
    for name, value in item.metadata.annotations.items():
        if name not in NOT_COPIED:
            annotations[name] = value
    before = number(new)
    if before < revision:
        annotations[REVISION] = str(revision)
        if exists and before:
            past = [text for text in annotations.get(HISTORY, "").split(",") if text]
            while sum(map(len, past)) + len(past) + len(str(before)) > MAX_HISTORY:
                del past[0]
            annotations[HISTORY] = ",".join([*past, str(before)])
    if not exists:
        annotate_sizes(item, new)


def annotate_sizes(item: Deployment, each: ReplicaSet) -> None:
    """Which sizes of the Deployment a ReplicaSet was sized for."""
    each.metadata.annotations[rollout.DESIRED] = str(item.spec.replicas)
    each.metadata.annotations[rollout.MAX_REPLICAS] = str(item.spec.replicas + rollout.max_surge(item))


def build(item: Deployment, others: Sequence[ReplicaSet]) -> ReplicaSet:
    """A new ReplicaSet of the present template, without an owner."""
    found, digest = ReplicaSet(), template_hash(item.spec.template, item.status.collisionCount)
    found.metadata.name = f"{item.metadata.name[: MAX_NAME - len(digest) - 1]}-{digest}"
    found.metadata.namespace = item.metadata.namespace
    found.spec.selector.CopyFrom(item.spec.selector)
    found.spec.selector.matchLabels[HASH] = digest
    found.spec.template.CopyFrom(item.spec.template)
    found.spec.template.metadata.labels[HASH] = digest
    found.metadata.labels.update(found.spec.template.metadata.labels)
    found.spec.minReadySeconds = item.spec.minReadySeconds
    found.spec.replicas = rollout.new_size(item, others, 0)
    annotate(item, found, next_number(others), exists=False)
    return found


def superfluous(item: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """ReplicaSets without pods beyond the history that is kept, the lowest revisions first."""
    kept = [each for each in old if not each.metadata.deletionTimestamp.seconds]
    surplus = len(kept) - item.spec.revisionHistoryLimit
    if surplus <= 0 or not item.spec.HasField("revisionHistoryLimit"):
        return []
    oldest = sorted(kept, key=lambda each: (number(each), each.metadata.creationTimestamp.seconds, each.metadata.name))
    return [each for each in oldest[:surplus] if _is_empty(each)]


def _is_empty(each: ReplicaSet) -> bool:
    """And its controller knows that it is to have no pods."""
    return not each.spec.replicas and not each.status.replicas and each.metadata.generation <= each.status.observedGeneration
