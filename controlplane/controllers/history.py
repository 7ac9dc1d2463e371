"""Earlier templates of a workload as ControllerRevisions: which is the present one, their numbers, and how many are kept.

The data of a revision is a patch that makes the workload's template again, as `kubectl rollout undo` applies it.
Source: kube-controller-manager's controller history (controller_history.go) and daemon/update.go.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from controlplane.controllers import podcontrol
from controlplane.controllers.podcontrol import PodControl, Workload
from controlplane.controllers.revisions import template_hash
from controlplane.requests import verbs
from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.apps.v1.controllerrevision_pb2 import ControllerRevision
from pinnace.messages import clone

# Of a pod, and of a revision: the hash of the template.
HASH = "controller-revision-hash"


def data_of(template: Any) -> bytes:
    """A strategic merge patch that replaces the template."""
    value = {**codec.encode(template), "$patch": "replace"}
    return json.dumps({"spec": {"template": value}}, separators=(",", ":"), sort_keys=True).encode()


def template_in(revision: ControllerRevision) -> dict[str, Any]:
    """The template of a revision, as JSON."""
    value: dict[str, Any] = json.loads(revision.data.raw)["spec"]["template"]
    return {key: item for key, item in value.items() if key != "$patch"}


def hash_of(revision: ControllerRevision) -> str:
    return revision.metadata.labels.get(HASH, "")


class History:
    """The revisions of one workload, `collisions` being its status.collisionCount. Raises ApiError where it writes."""

    def __init__(self, tx: Tx, owner: Workload, control: PodControl, now: float) -> None:
        self._tx = tx
        self._owner = owner
        self._control = control
        self._now = now
        spec = owner.message.spec
        self.all: list[ControllerRevision] = podcontrol.claim(tx, owner, spec.selector, kinds.CONTROLLER_REVISION)

    def current(self) -> ControllerRevision:
        """The revision of the present template, made or numbered anew where it is not the latest."""
        data = data_of(self._owner.message.spec.template)
        found = next((item for item in self.all if item.data.raw == data), None)
        latest = max((item.revision for item in self.all), default=0)
        if found is None:
            return self._create(data, latest + 1)
        if found.revision < latest:
            renumbered = clone(found)
            renumbered.revision = latest + 1
            found = verbs.update(self._tx, kinds.CONTROLLER_REVISION, renumbered, self._control.call(self._now))
        return found

    def _create(self, data: bytes, number: int) -> ControllerRevision:
        item, made = self._owner.message, ControllerRevision(revision=number)
        made.data.raw = data
        collisions = item.status.collisionCount
        while True:
            digest = template_hash(item.spec.template, collisions)
            name = f"{item.metadata.name}-{digest}"
            if self._tx.get(kinds.CONTROLLER_REVISION, self._owner.namespace, name) is None:
                break
            collisions += 1
        if collisions:
            item.status.collisionCount = collisions
        made.metadata.name, made.metadata.namespace = name, self._owner.namespace
        made.metadata.labels.update(item.spec.template.metadata.labels)
        made.metadata.labels[HASH] = digest
        self._owner.own(made)
        return verbs.create(self._tx, kinds.CONTROLLER_REVISION, made, self._control.call(self._now))

    def clean_up(self, current: ControllerRevision, used: frozenset[str], kept: int) -> None:
        """Delete the oldest revisions beyond `kept`, except those that pods name by hash or name (`used`)."""
        for item in self.superfluous(current, used, kept):
            meta = item.metadata
            verbs.delete(
                self._tx, kinds.CONTROLLER_REVISION, meta.namespace, meta.name, self._control.call(self._now), uid=meta.uid
            )

    def superfluous(self, current: ControllerRevision, used: frozenset[str], kept: int) -> Sequence[ControllerRevision]:
        unused = [
            item
            for item in self.all
            if item.metadata.uid != current.metadata.uid and used.isdisjoint((hash_of(item), item.metadata.name))
        ]
        unused.sort(key=lambda item: item.revision)
        return unused[: max(len(unused) - kept, 0)]
