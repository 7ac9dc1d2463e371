"""The steps that write: RUN, COPY and ADD, WORKDIR. Each leaves what it wrote in `upper` of the folder that it is given."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import Mapping
from pathlib import Path

from nodeagent.images.build import adding, copying, sources, stages, view
from nodeagent.images.build.copying import Manner
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.instructions import Copy, Run, Workdir
from nodeagent.images.build.running import Process, Runner, Say
from nodeagent.images.build.sources import Account, Source
from nodeagent.images.build.state import DEFAULT_PATH, State


class RunWriter:
    """RUN; `args` are the build's, of which the proxies reach every RUN; `deadline` in seconds."""

    def __init__(self, runner: Runner, args: Mapping[str, str], deadline: float, say: Say) -> None:
        self._runner = runner
        self._proxies = {name: value for name, value in args.items() if name in stages.PROXY_ARGS}
        self._deadline = deadline
        self._say = say

    async def write(self, item: Run, current: State, layers: tuple[str, ...], folder: Path) -> None:
        """`layers` are folders from the top down. Raises BuildError with the exit code."""
        who = await asyncio.to_thread(_account, current.user, layers, folder / "accounts")
        env = {**self._proxies, **current.args, **current.env}
        env.setdefault("PATH", DEFAULT_PATH)
        env.setdefault("HOME", "/root" if who.uid == 0 else "/")
        process = Process(
            argv=item.argv, env=tuple(f"{name}={value}" for name, value in env.items()), cwd=current.workdir, who=who,
            layers=layers, deadline=self._deadline,
        )  # fmt: skip
        exit_ = await self._runner.run(process, folder, self._say)
        if exit_.code:
            reason = "ran out of memory" if exit_.oom_killed else f"exit code {exit_.code}"
            raise BuildError(exit_.message or reason, code=exit_.code)


def _account(text: str, layers: tuple[str, ...], scratch: Path) -> Account:
    with view.merged(layers, scratch) as root:
        return sources.account(root, text)


def copy(item: Copy, current: State, layers: tuple[str, ...], folder: Path, *, source: Source, paths: list[str]) -> None:
    """COPY or ADD of `paths` in `source`. Raises BuildError, OSError."""
    target = target_of(item, current)
    with view.merged(layers, folder) as root:
        manner = _manner(item, root, context=source.layers is None)
        for path in paths:
            with adding.opened(source.root, path, folder / "archive", extract=item.extract) as extracted:
                if extracted is None:
                    copying.copy(root, target, source.root, path, manner)
                else:
                    # An archive's files have owners of their own.
                    own = Manner(manner.owner if item.chown else None, manner.mode)
                    copying.copy(root, target, extracted, "", own)


def target_of(item: Copy, current: State) -> str:
    """The absolute path that is written to; a slash at its end says that it is a folder."""
    folder = item.target in (".", "..") or item.target.endswith(("/", "/.", "/.."))
    path = posixpath.normpath(posixpath.join(current.workdir, item.target))
    return path if path == "/" or not folder else f"{path}/"


def _manner(item: Copy, root: int, *, context: bool) -> Manner:
    """Files of the context have no owner here that means anything; those of an image keep theirs."""
    owner = (0, 0) if context else None
    if item.chown:
        who = sources.account(root, item.chown)
        # Without a group it is that of the same number, as with Docker.
        owner = (who.uid, who.gid if ":" in item.chown else who.uid)
    mode = None
    if item.chmod:
        if len(item.chmod) > 4 or any(digit not in "01234567" for digit in item.chmod):
            raise BuildError(f"--chmod={item.chmod[:20]} is not an octal mode such as 755")
        mode = int(item.chmod, 8)
    return Manner(owner, mode)


def workdir(item: Workdir, current: State, layers: tuple[str, ...], folder: Path) -> None:
    """The folder, made where it is missing. Raises BuildError, OSError."""
    with view.merged(layers, folder) as root:
        os.close(copying.make_folder(root, item.path))
