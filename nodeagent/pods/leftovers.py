"""What containers of a pod leave behind, deleted next to the pod's loop: reports, restarts and stops do not wait for it.

An attempt that ended leaves its writable layer, one that is no longer kept its bundle and its logs, a pod that ended its
volumes. An attempt whose number is used again is renamed (`.NUMBER.N`) first. Another agent finds what is left of all of them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from nodeagent.launcher import bundle as names
from nodeagent.node.deletion import delete_tree
from nodeagent.node.pools import Pool
from nodeagent.runtime.bundles import forget_config
from nodeagent.volumes import manager as volumes


class Leftovers:
    def __init__(
        self, share: Pool, *, mind: Callable[[asyncio.Task[None]], None], failed: Callable[[Path, OSError], None]
    ) -> None:
        """`share`: the pod's of the threads for deletions; `failed` is told what could not be deleted, which stays."""
        self._share = share
        self._mind = mind
        self._failed = failed
        # The last deletion in each directory: those in the same one follow each other.
        self._tasks: dict[Path, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """Whether something is being deleted."""
        return bool(self._tasks)

    def pending(self, name: str) -> set[int]:
        """The numbers of a container's attempts that are being deleted, or their writable layers."""
        found = {path.name.removeprefix(".").partition(".")[0] for path in self._tasks if path.parent.name == name}
        return {int(number) for number in found if number.isdigit()}

    def clean(self, bundle: Path) -> None:
        """The writable layer and configuration of an attempt that has ended; what logs and status need stays."""
        self._begin(bundle, lambda: self._bundle(bundle, (Path(names.upper(bundle)), Path(names.work(bundle)))))

    def discard(self, bundle: Path, logs: Iterable[Path] = ()) -> None:
        """All of an attempt that is no longer kept."""
        self._begin(bundle, lambda: self._bundle(bundle, (bundle,), logs))

    def put_aside(self, bundle: Path) -> None:
        """All of an attempt whose number is used again: nothing is left under its name. Raises OSError."""
        free = (bundle.with_name(f".{bundle.name}.{number}") for number in itertools.count())
        target = next(path for path in free if not path.exists())
        try:
            bundle.rename(target)
        except FileNotFoundError:
            return
        self.discard(target)

    def release(self, folder: Path) -> None:
        """The volumes of a pod that has ended."""
        self._begin(folder, lambda: self._volumes(folder))

    def resume(self, containers: Path) -> None:
        """What an agent that was killed had put aside."""
        for path in containers.glob("*/.*"):
            self.discard(path)

    async def done(self) -> None:
        """Wait until nothing is being deleted."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    def _begin(self, path: Path, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(self._after(self._tasks.get(path), path, work))
        self._tasks[path] = task
        task.add_done_callback(lambda done: self._tasks.pop(path) if self._tasks.get(path) is done else None)
        self._mind(task)

    async def _after(self, earlier: asyncio.Task[None] | None, path: Path, work: Callable[[], Awaitable[None]]) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        try:
            await work()
        except OSError as error:
            self._failed(path, error)

    async def _bundle(self, bundle: Path, trees: Iterable[Path], logs: Iterable[Path] = ()) -> None:
        await self._share.run(_forget, bundle, logs)
        for tree in trees:
            await delete_tree(self._share, tree)

    async def _volumes(self, folder: Path) -> None:
        await self._share.run(volumes.unmount, folder)
        await delete_tree(self._share, folder)


def _forget(bundle: Path, logs: Iterable[Path]) -> None:
    forget_config(bundle)
    for path in logs:
        path.unlink(missing_ok=True)
