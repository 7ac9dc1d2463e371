"""What rollouts of DaemonSets and StatefulSets have in common: ControllerRevisions are the versions of their templates.

Source: kubectl's pkg/polymorphichelpers (history.go, rollback.go).
"""

from __future__ import annotations

import json
from typing import Any

from cli.rollouts.deployments import CHANGE_CAUSE
from cli.rollouts.model import Revision, Undo
from pinnace import codec, kinds, labelselectors
from pinnace.equality import same
from pinnace.errors import BadRequest


class ByControllerRevision:
    """Implements `table.Rollout` but for `progress`."""

    def history(self, client: Any, item: Any) -> dict[int, Revision]:
        meta = item.metadata
        found = client.list(kinds.CONTROLLER_REVISION, meta.namespace, labels=labelselectors.text(item.spec.selector))
        return {
            each.revision: Revision(
                _template(item, each), each.metadata.annotations.get(CHANGE_CAUSE, ""), kinds.CONTROLLER_REVISION, each
            )
            for each in found
            if any(ref.controller and ref.uid == meta.uid for ref in each.metadata.ownerReferences)
        }

    def chosen(self, item: Any, found: dict[int, Revision], number: int) -> Revision:
        if number and number not in found:
            raise BadRequest(f"unable to find specified revision {number} in history")
        if number:
            return found[number]
        if len(found) < 2:
            raise BadRequest("no last revision to roll back to")
        return found[sorted(found)[-2]]

    def undoing(self, item: Any, revision: Revision) -> Undo | None:
        if same(revision.template, item.spec.template):
            return None
        return Undo("STRATEGIC", json.loads(revision.source.data.raw))

    def pausing(self, item: Any, *, paused: bool) -> dict[str, Any]:
        raise BadRequest(f"{'pausing' if paused else 'resuming'} is not supported")

    def check_restart(self, item: Any) -> None:
        """Always allowed."""


def _template(item: Any, revision: Any) -> Any:
    """Of a revision's data, a patch that replaces the template. Raises BadRequest."""
    try:
        value = dict(json.loads(revision.data.raw)["spec"]["template"])
        value.pop("$patch", None)
        return codec.decode(type(item.spec.template), value)
    except (ValueError, KeyError, TypeError):
        raise BadRequest(f"unable to parse history {revision.metadata.name}") from None


def check_strategy(item: Any) -> None:
    """Raises BadRequest where pods are replaced by hand."""
    if item.spec.updateStrategy.type != "RollingUpdate":
        raise BadRequest("rollout status is only available for RollingUpdate strategy type")
