"""The kinds whose templates roll out, and what `kctl rollout` asks of each. A kind is one entry of `ROLLOUTS`."""

from __future__ import annotations

from typing import Any, Protocol

from cli.rollouts.daemonsets import DaemonSets
from cli.rollouts.deployments import Deployments
from cli.rollouts.model import Progressed, Revision, Undo
from cli.rollouts.statefulsets import StatefulSets
from pinnace import kinds
from pinnace.errors import BadRequest
from pinnace.kinds import Kind


class Rollout(Protocol):
    """A kind with a template of pods."""

    def progress(self, item: Any, revision: int) -> Progressed:
        """How far the rollout is; `revision` above 0 is the one expected. Raises BadRequest when it has failed."""

    def history(self, client: Any, item: Any) -> dict[int, Revision]:
        """All versions of the template that are kept, by number. Raises ApiError."""

    def chosen(self, item: Any, found: dict[int, Revision], number: int) -> Revision:
        """The version to return to; 0 is the one before the present. Raises BadRequest."""

    def undoing(self, item: Any, revision: Revision) -> Undo | None:
        """The patch that restores a version; None when the object has that template. Raises BadRequest."""

    def pausing(self, item: Any, *, paused: bool) -> dict[str, Any]:
        """The merge patch that pauses or resumes. Raises BadRequest, also when nothing is left to do."""

    def check_restart(self, item: Any) -> None:
        """Raises BadRequest where the template may not be changed."""


ROLLOUTS: dict[Kind, Rollout] = {
    kinds.DEPLOYMENT: Deployments(), kinds.DAEMON_SET: DaemonSets(), kinds.STATEFUL_SET: StatefulSets(),
}  # fmt: skip


def of_kind(kind: Kind, missing: str) -> Rollout:
    """Raises BadRequest with kubectl's sentence for a kind whose templates do not roll out."""
    found = ROLLOUTS.get(kind)
    if found is None:
        raise BadRequest(missing)
    return found
