"""Cache mounts (`RUN --mount=type=cache`): directories of this node that outlive builds, bounded in age and size.

    images/build-cache/mounts/<key>-<n>/data     the directory that is mounted
    images/build-cache/mounts/<key>-<n>/used     its last change is the last use

`key` is a digest of the id, and of the owner, mode and origin that the directory begins with; there are several `n` when
builds used it at the same time with sharing=private. Their content is in no layer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nodeagent.building.errors import BuildError
from nodeagent.linux import rmtree
from nodeagent.node import threads
from nodeagent.runtime.interface import Mount
from pinnace.clock import Clock

if TYPE_CHECKING:
    from nodeagent.building.mounts import RunMount

log = logging.getLogger("pinnace.build")
# Bytes of all together, seconds without use, directories: beyond these the least recently used are removed.
MAX_BYTES = 10 << 30
MAX_AGE = 14 * 86_400.0
MAX_DIRECTORIES = 1_000
# Seconds that a build waits for a locked one.
LOCK_WITHIN = 3600.0


@dataclass(slots=True)
class _Use:
    """Of one directory: how many builds share it, or that one has it alone."""

    shared: int = 0
    exclusive: bool = False


class CacheMounts:
    """All cache mounts of this node; what a running build uses is never removed."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock
        self._uses: dict[str, _Use] = {}
        self._changed = asyncio.Condition()

    async def lend(self, stack: AsyncExitStack, mount: RunMount, layers: Sequence[str], scratch: Path) -> Mount:
        """The mount, until `stack` ends. `layers`, from the top down, are what it begins with when it is new.

        Raises BuildError, OSError.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = await self._taken(_key(mount, layers), mount)
        stack.push_async_callback(self._release, name)
        data = self.directory / name / "data"
        if not data.exists():
            await threads.builds.run(self._make, data, mount, layers, scratch)
        _mark(data.parent / "used", self._clock.now())
        sub_path = mount.source.strip("/") if not layers else ""
        return Mount(str(data), mount.target, read_only=mount.read_only, sub_path=sub_path)

    async def _taken(self, key: str, mount: RunMount) -> str:
        """The name of a directory that may be used now. Raises BuildError when a locked one stays in use."""
        async with self._changed:
            name = self._free(key, mount)
            if not name:
                try:
                    async with asyncio.timeout(LOCK_WITHIN):
                        await self._changed.wait_for(lambda: bool(self._free(key, mount)))
                except TimeoutError:
                    raise BuildError(f"--mount: the cache {mount.id[:60]} was in use for {LOCK_WITHIN:.0f} s") from None
                name = self._free(key, mount)
            use = self._uses.setdefault(name, _Use())
            if mount.sharing == "shared":
                use.shared += 1
            else:
                use.exclusive = True
            return name

    def _free(self, key: str, mount: RunMount) -> str:
        """A directory of the key for this sharing; empty when a locked one must be waited for."""
        for number in range(MAX_DIRECTORIES):
            name = f"{key}-{number}"
            use = self._uses.get(name)
            if use is None or (mount.sharing == "shared" and not use.exclusive):
                return name
            if mount.sharing == "locked":
                return ""
        return ""

    async def _release(self, name: str) -> None:
        async with self._changed:
            use = self._uses[name]
            use.exclusive = False
            use.shared = max(use.shared - 1, 0)
            if not use.shared:
                del self._uses[name]
            self._changed.notify_all()

    def _make(self, data: Path, mount: RunMount, layers: Sequence[str], scratch: Path) -> None:
        """A new one, whole by rename: a build that is killed leaves none that is half made."""
        # Here: an agent that builds nothing trims only.
        from nodeagent.building import copying, view
        from nodeagent.building.fileattributes import FileAttributes

        made = data.with_name("new")
        rmtree.remove(made)
        made.mkdir(parents=True, mode=0o700)
        os.chown(made, mount.uid or 0, mount.gid or 0)
        os.chmod(made, 0o755 if mount.mode is None else mount.mode & 0o7777)
        if layers:
            with view.merged(layers, scratch) as source:
                root = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    copying.copy(root, "/", source, mount.source.strip("/"), FileAttributes(None))
                finally:
                    os.close(root)
        made.rename(data)

    # Removing

    async def trim(self) -> int:
        """Remove what is too old, and the least recently used while all together are too large. Returns the bytes freed;
        a disk that cannot be read is logged."""
        try:
            return await self._remove_all(await threads.builds.run(self._doomed))
        except OSError as error:
            log.warning("cache_mounts_not_trimmed error=%s", error)
            return 0

    async def clear(self) -> int:
        """Remove all that no build uses. Returns the bytes freed. Raises OSError."""
        return await self._remove_all(self._all())

    def _all(self) -> list[Path]:
        """The most recently used first."""
        return sorted(self.directory.iterdir(), key=_used, reverse=True) if self.directory.is_dir() else []

    async def _remove_all(self, paths: list[Path]) -> int:
        freed = 0
        for path in paths:
            freed += await self._remove(path)
        return freed

    def _doomed(self) -> list[Path]:
        """Those to remove, of which some may be in use."""
        doomed, total, kept = [], 0, 0
        for path in self._all():
            size = _size(path)
            old = self._clock.now() - _used(path) > MAX_AGE
            if old or kept >= MAX_DIRECTORIES or total + size > MAX_BYTES:
                doomed.append(path)
                continue
            total, kept = total + size, kept + 1
        return doomed

    async def _remove(self, path: Path) -> int:
        async with self._changed:
            if path.name in self._uses:
                return 0
            # No build takes it while it is removed.
            self._uses[path.name] = _Use(exclusive=True)
        size = await threads.builds.run(_size, path)
        try:
            await threads.builds.run(rmtree.remove, path)
            return size
        except OSError as error:
            log.warning("cache_mount_not_removed path=%s error=%s", path, error)
            return 0
        finally:
            await self._release(path.name)


def _key(mount: RunMount, layers: Sequence[str]) -> str:
    origin = [os.path.basename(layer) for layer in layers]
    value = [mount.cache_id, mount.uid, mount.gid, mount.mode, origin, mount.source if layers else ""]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]


def _mark(path: Path, now: float) -> None:
    path.touch()
    os.utime(path, (now, now))


def _used(path: Path) -> float:
    """Seconds since the epoch; 0 for one that was never used."""
    try:
        return (path / "used").stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    """Bytes on disk; a file with several names counts once."""
    total, seen = 0, set()
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(f"{directory}/{name}")
            except OSError:
                continue
            inode = (status.st_dev, status.st_ino)
            total += status.st_blocks * 512 if inode not in seen else 0
            if status.st_nlink > 1:
                seen.add(inode)
    return total
