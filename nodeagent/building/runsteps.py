"""RUN: who runs it with which environment, and what is mounted into it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from nodeagent.building import arguments, content, keys, runmounts, sources, view
from nodeagent.building.cachemounts import CacheMounts
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import Run
from nodeagent.building.limits import RunLimits
from nodeagent.building.mounts import RunMount
from nodeagent.building.origins import Origins
from nodeagent.building.pieces import Piece
from nodeagent.building.progress import Say
from nodeagent.building.runmounts import Source
from nodeagent.building.running import Process, Runner
from nodeagent.building.sources import Account
from nodeagent.building.stages import Plan
from nodeagent.building.state import DEFAULT_PATH, State
from nodeagent.linux import rmtree
from nodeagent.node import threads
from nodeagent.runtime.interface import Exit


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a RUN's mounts show: a source for each mount, and digests of their content for the cache's key."""

    sources: tuple[Source, ...] = ()
    digests: tuple[str, ...] = ()


class RunSteps:
    """The RUNs of one build; `build` gives the end of a stage by its number."""

    def __init__(
        self, directory: Path, plan: Plan, origins: Origins, runner: Runner, *, mounts: CacheMounts, args: Mapping[str, str],
        secrets: Mapping[str, bytes], limits: RunLimits, say: Say, build: Callable[[int], Awaitable[State]],
    ) -> None:  # fmt: skip
        """`args` are the build's, of which the proxies reach every RUN."""
        self._directory = directory
        self._plan = plan
        self._origins = origins
        self._runner = runner
        self._caches = mounts
        self._proxies = arguments.proxies(args)
        self._secrets = secrets
        self._limits = limits
        self._say = say
        self._build = build

    async def inputs(self, item: Run, stage: int) -> Inputs:
        """Raises BuildError."""
        found, digests = [], []
        for mount in item.mounts:
            layers: tuple[str, ...] | None = None
            if mount.origin and mount.kind in ("bind", "cache"):
                layers = await self._origins.layers(mount.origin, self._plan, stage, item.line, self._build)
            if layers is not None:
                digests.append(keys.of_layers(layers, (mount.source,)))
                found.append(Source(mount, self._origins.images.layer_dirs(layers)))
                continue
            found.append(Source(mount, None if mount.kind == "bind" else ()))
            if mount.kind == "bind":
                digests.append(await threads.builds.run(self._context_digest, mount))
        return Inputs(tuple(found), tuple(digests))

    def _context_digest(self, mount: RunMount) -> str:
        with sources.of_context(self._directory / "context") as source:
            try:
                return content.digest(source.root, [Piece(mount.source.strip("/"))])
            except OSError:
                raise BuildError(f"--mount: {mount.source[:200]!r}: no such file in the context") from None

    async def write(self, item: Run, current: State, layers: tuple[str, ...], directory: Path, inputs: Inputs) -> None:
        """`layers` are directories from the top down. Raises BuildError with the exit code."""
        account = await threads.builds.run(_account, current.user, layers, directory / "accounts")
        async with AsyncExitStack() as stack:
            prepared = await runmounts.prepare(
                stack, inputs.sources, directory / "mounts", context=self._directory / "context", caches=self._caches,
                secrets=self._secrets, script=item.script,
            )  # fmt: skip
            env = {**self._proxies, **current.variables, **prepared.env}
            env.setdefault("PATH", DEFAULT_PATH)
            env.setdefault("HOME", account.home)
            process = Process(
                argv=item.argv(current.shell), env=tuple(f"{name}={value}" for name, value in env.items()),
                cwd=current.workdir, account=account, layers=layers, limits=self._limits, mounts=prepared.mounts,
                network=item.network != "none",
            )  # fmt: skip
            self._check(await self._runner.run(process, directory, self._say))

    def _check(self, found: Exit) -> None:
        if not found.code:
            return
        reason = f"exit code {found.code}"
        if found.oom_killed:
            limit = f" of {self._limits.memory >> 20} MiB" if self._limits.memory else ""
            reason = f"ran out of memory (exit code {found.code}): its limit{limit} is set by --memory"
        raise BuildError(found.message or reason, code=found.code)


def _account(text: str, layers: tuple[str, ...], scratch: Path) -> Account:
    try:
        with view.merged(layers, scratch) as root:
            return sources.account(root, text)
    finally:
        rmtree.remove(scratch)
