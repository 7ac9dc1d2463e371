"""Deletes the data of local volumes that are released, and reports it: then the control plane deletes the volume.

A volume is in this node's assignment for as long as its data is to be deleted. So a node that was down deletes it later, and a
deletion that was interrupted is repeated. Only directories that this agent makes are deleted: their path follows from the
volume's name alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeagent.control.changes import Change
from nodeagent.node.deletion import delete_tree
from nodeagent.node.pools import Pool
from nodeagent.volumes import external
from pinnace import persistentvolumes
from pinnace.clock import Clock, jitter
from pinnace.persistentvolumes import DELETE, FAILED, RELEASED
from pinnace.wellknown import SELECTED_NODE

log = logging.getLogger("pinnace.volumes")
# Seconds between attempts: while a pod still uses the volume; after a failure, doubling up to the last.
IN_USE_RETRY, FIRST_RETRY, MAX_RETRY = 1.0, 1.0, 300.0


class VolumeReclaimer:
    """`used`: whether a pod of this node may still write to a volume. `report` gets the outcome, an error or an empty text."""

    def __init__(
        self, directory: Path, node: str, pool: Pool, clock: Clock, *, used: Callable[[Any], bool],
        report: Callable[[Any, str], None],
    ) -> None:  # fmt: skip
        self._directory = directory
        self._node = node
        self._pool = pool
        self._clock = clock
        self._used = used
        self._report = report
        # By UID: the deletion of a volume that is assigned for it, also when it is done.
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def changed(self, changes: list[Change]) -> None:
        """Volumes of the assignment that have changed, or left it."""
        for change in changes:
            if change.new is None:
                self._forget(change.old)
            else:
                self.assigned(change.new)

    def assigned(self, volume: Any) -> None:
        """A volume as the control plane has just sent it, also without a change.

        What an earlier agent stored does not count: an administrator may keep the data since. A deletion that was reported is
        reported again: the first report may be lost."""
        if not self._is_mine(volume):
            self._forget(volume)
            return
        known = self._tasks.get(volume.metadata.uid)
        if known is None or known.done():
            self._tasks[volume.metadata.uid] = asyncio.ensure_future(self._reclaim(volume))

    def _is_mine(self, volume: Any) -> bool:
        released = volume.status.phase in (RELEASED, FAILED) and volume.spec.persistentVolumeReclaimPolicy == DELETE
        mine = volume.metadata.annotations.get(SELECTED_NODE) == self._node
        return released and mine and persistentvolumes.is_local_path(volume)

    def _forget(self, volume: Any) -> None:
        task = self._tasks.pop(volume.metadata.uid, None)
        if task is not None:
            task.cancel()

    async def _reclaim(self, volume: Any) -> None:
        delay = FIRST_RETRY
        while True:
            if self._used(volume):
                await self._clock.sleep(IN_USE_RETRY)
                continue
            try:
                await self._delete(volume)
            except OSError as error:
                log.warning("volume_not_deleted volume=%s error=%s", volume.metadata.name, error)
                self._report(volume, f"cannot delete the data of the volume: {error.strerror or error}")
                await self._clock.sleep(jitter(delay))
                delay = min(2 * delay, MAX_RETRY)
            else:
                log.info("volume_deleted volume=%s", volume.metadata.name)
                self._report(volume, "")
                return

    async def _delete(self, volume: Any) -> None:
        """Raises OSError."""
        path = volume.spec.persistentVolumeSource.local.path
        if not external.is_made_at(path, volume.metadata.name, self._directory):
            raise OSError(f"{path} is not where this node makes local volumes")
        await delete_tree(self._pool.of(volume.metadata.uid), Path(path))

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
