"""The mounts of a RUN on this node: made before it starts, gone when it has ended.

builds/<id>/<step>/mounts/<n>/    an overlay of a stage's or image's layers, or a tmpfs
builds/<id>/<step>/mounts/secrets a tmpfs: secrets reach neither the disk nor a layer
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from nodeagent.building import copying, view
from nodeagent.building.cachemounts import CacheMounts
from nodeagent.building.errors import BuildError
from nodeagent.building.heredocs import Heredoc
from nodeagent.building.mounts import RunMount
from nodeagent.linux import syscalls
from nodeagent.node import threads
from nodeagent.runtime.interface import Mount

_TMPFS = syscalls.MS_NOSUID | syscalls.MS_NODEV
SCRIPTS = "/dev/pipes"


@dataclass(frozen=True, slots=True)
class Source:
    """A mount with the directories of its layers, from the top down; None for the context."""

    mount: RunMount
    layers: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """`env` are secrets that are given as variables."""

    mounts: tuple[Mount, ...]
    env: Mapping[str, str]


async def prepare(
    stack: AsyncExitStack, sources: Sequence[Source], directory: Path, *, context: Path, caches: CacheMounts,
    secrets: Mapping[str, bytes], script: Heredoc | None,
) -> Prepared:  # fmt: skip
    """Until `stack` ends. Raises BuildError, OSError."""
    found: list[Mount] = []
    env: dict[str, str] = {}
    given = _Secrets(directory / "secrets", secrets)
    for number, source in enumerate(sources):
        mount, place = source.mount, directory / str(number)
        inner = [other.mount.target for other in sources if other.mount.target.startswith(f"{mount.target}/")]
        if mount.kind == "secret":
            await threads.builds.run(given.add, stack, mount, number, found, env)
        elif mount.kind == "tmpfs":
            found.append(await threads.builds.run(_tmpfs, stack, mount, place))
        elif mount.kind == "cache":
            found.append(await caches.lend(stack, mount, source.layers or (), place))
        else:
            found.append(await threads.builds.run(_bind, stack, source, place, context, inner))
    if script is not None:
        found.append(await threads.builds.run(_script, script, directory / "scripts"))
    return Prepared(tuple(found), env)


def _bind(stack: AsyncExitStack, source: Source, place: Path, context: Path, inner: Sequence[str]) -> Mount:
    """Of a path in the context, a stage or an image. What a RUN writes to a writable one is dropped, as in BuildKit."""
    mount = source.mount
    if source.layers is None and mount.read_only and not inner:
        root = context
    else:
        layers = (str(context),) if source.layers is None else source.layers
        tree: AbstractContextManager[Path] = view.attached(layers, place)
        root = stack.enter_context(tree)
    path = _resolved(root, mount.source)
    if inner and path.is_dir():
        _make_points(path, [target.removeprefix(f"{mount.target}/") for target in inner])
    return Mount(str(path), mount.target, read_only=mount.read_only, recursive_read_only=False)


def _resolved(root: Path, path: str) -> Path:
    """`path` inside the tree at `root`, symlinks followed inside of it. Raises BuildError."""
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        item = syscalls.openat2(top, path.strip("/") or ".", syscalls.O_PATH)
    except OSError as error:
        raise BuildError(f"--mount: {path[:200]!r}: {(error.strerror or str(error)).lower()}") from None
    finally:
        os.close(top)
    try:
        return Path(os.readlink(f"/proc/self/fd/{item}"))
    finally:
        os.close(item)


def _make_points(path: Path, inner: Sequence[str]) -> None:
    """Mount points of other mounts, in a tree that may be written."""
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in inner:
            os.close(copying.make_directory(root, name))
    except BuildError:
        # A file is there; a file may be mounted on it.
        pass
    finally:
        os.close(root)


def _tmpfs(stack: AsyncExitStack, mount: RunMount, place: Path) -> Mount:
    place.mkdir(parents=True, mode=0o700)
    options = "mode=1777" + (f",size={mount.size}" if mount.size else "")
    syscalls.mount("tmpfs", place, "tmpfs", _TMPFS, options)
    stack.callback(syscalls.umount, place, syscalls.MNT_DETACH)
    return Mount(str(place), mount.target, read_only=mount.read_only)


def _script(script: Heredoc, place: Path) -> Mount:
    place.mkdir(parents=True, mode=0o755)
    path = place / script.name
    path.write_bytes(script.text.encode())
    os.chmod(path, 0o755)
    return Mount(str(path), posixpath.join(SCRIPTS, script.name), read_only=True)


class _Secrets:
    """The secrets of one RUN, in a tmpfs that the first of them makes."""

    def __init__(self, place: Path, values: Mapping[str, bytes]) -> None:
        self._place = place
        self._values = values
        self._mounted = False

    def place(self, stack: AsyncExitStack) -> Path:
        """The tmpfs, until `stack` ends. Raises OSError."""
        if not self._mounted:
            self._place.mkdir(parents=True, mode=0o700)
            size = sum(map(len, self._values.values())) + (4 << 20)
            syscalls.mount("secrets", self._place, "tmpfs", _TMPFS | syscalls.MS_NOEXEC, f"mode=700,size={size}")
            stack.callback(syscalls.umount, self._place, syscalls.MNT_DETACH)
            self._mounted = True
        return self._place

    def add(self, stack: AsyncExitStack, mount: RunMount, number: int, found: list[Mount], env: dict[str, str]) -> None:
        """Raises BuildError for a required one that was not given; another is left out."""
        value = self._values.get(mount.secret_id)
        if value is None:
            if mount.required:
                hint = f"give it by --secret id={mount.secret_id[:60]},src=FILE"
                raise BuildError(f"--mount: secret {mount.secret_id[:60]}: not found: {hint}")
            return
        if mount.env is not None:
            name = mount.env or mount.secret_id
            if not name or "=" in name or b"\0" in value:
                raise BuildError(f"--mount: the secret {mount.secret_id[:60]} cannot be the variable {name[:60]!r}")
            env[name] = value.decode("utf-8", "surrogateescape")
        if mount.target:
            found.append(Mount(str(self._file(stack, mount, number, value)), mount.target, read_only=True))

    def _file(self, stack: AsyncExitStack, mount: RunMount, number: int, value: bytes) -> Path:
        path = self.place(stack) / str(number)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(value)
        os.chown(path, mount.uid or 0, mount.gid or 0)
        os.chmod(path, 0o400 if mount.mode is None else stat.S_IMODE(mount.mode))
        return path
