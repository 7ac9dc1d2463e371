"""The interface to a container runtime.

Terms. A *sandbox* is a pod's shared namespaces (net, ipc, uts) and its /dev/shm, pinned in the file system: it needs
no process. A *bundle* is a directory with a `config.json` (`ContainerConfig`) that the caller makes (see `bundles`); the
runtime adds `state.json` when the container runs and `exit.json` when it has ended, and both outlive every process of ours.

    await runtime.create_sandbox(SandboxConfig(...))
    handle = await runtime.start(bundle)            # returns once the program runs
    exit = await runtime.wait(handle)               # again after a restart: runtime.recover(bundle)
    bundles.discard(bundle)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class IdRange:
    """A user namespace's ids: 0 to `size - 1` inside are `first` onwards on the host, for users and groups alike."""

    first: int
    size: int


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """`folder` gets `ns/net`, `ns/ipc`, `ns/uts` and `shm`. Host networking leaves out `ns/net` and `ns/uts`, host IPC
    `ns/ipc`; `ids` adds `ns/user`, which owns the others, and `shared_pid` adds `ns/pid` with a reaper as its PID 1.
    """

    folder: Path
    hostname: str
    host_network: bool = False
    host_ipc: bool = False
    shared_pid: bool = False
    ids: IdRange | None = None
    # Kernel parameters of the sandbox's namespaces, by dotted name.
    sysctls: tuple[tuple[str, str], ...] = ()
    # Cgroup folders that the reaper of a shared pid namespace joins.
    cgroups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind of `source` on the host to `target` in the container.

    `sub_path` is resolved below `source`, never out of it, and made as a folder when it is missing. `propagation` is
    Kubernetes' None, HostToContainer or Bidirectional. `idmap`: in a user namespace, files show the ids they have on disk.
    """

    source: str
    target: str
    read_only: bool = False
    sub_path: str = ""
    recursive_read_only: bool = False
    propagation: str = "None"
    idmap: bool = True


@dataclass(frozen=True, slots=True)
class Terminal:
    """Standard input and terminal of a container, as the manifest's stdin, stdinOnce and tty."""

    stdin: bool = False
    once: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class LogRotation:
    """Of a container's log: bytes a file, files kept."""

    max_bytes: int = 10 << 20
    max_files: int = 5


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """All a container is; as JSON it is a bundle's `config.json`. `layers` from the top down; `cgroups` are folders on
    the host to join; `hierarchies` what to mount below /sys/fs/cgroup."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    layers: tuple[str, ...]
    sandbox: str
    log: str
    user: int = 0
    group: int = 0
    groups: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    cgroups: tuple[str, ...] = ()
    hierarchies: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    # All devices and a writable /sys, nothing masked; seccomp, AppArmor and capabilities are said apart.
    privileged: bool = False
    no_new_privileges: bool = False
    read_only_root: bool = False
    # False: procMount Unmasked.
    masked: bool = True
    # A compiled BPF filter; empty: unconfined.
    seccomp: str = ""
    # An AppArmor profile that is loaded on the node; empty: none.
    apparmor: str = ""
    oom_score_adj: int = 0
    # Whose processes it sees: its own, the pod's (the sandbox's ns/pid), the host's, or those of another container.
    pid_namespace: Literal["own", "pod", "host", "container"] = "own"
    # With pid_namespace "container": that container's init and its start time.
    pid_target: tuple[int, int] = (0, 0)
    host_network: bool = False
    host_ipc: bool = False
    ids: IdRange | None = None
    terminal: Terminal = Terminal()
    # Log rotation: bytes a file, files kept.
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5


@dataclass(frozen=True, slots=True)
class Handle:
    """A started container. Processes are named by pid and start time, so that a reused pid is not mistaken."""

    bundle: Path
    pid: int
    pid_start: int
    monitor: int
    monitor_start: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Exit:
    """`signal` is set when one ended the process; the code is then 128 + signal."""

    code: int
    finished_at: float
    signal: int = 0
    oom_killed: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """A command in addition to the container's own, as its user and with its environment; `env` comes on top."""

    args: tuple[str, ...]
    tty: bool = False
    env: tuple[str, ...] = ()


class StartError(Exception):
    """The container could not be started; the text is for people."""


class RuntimeLost(StartError):
    """The runtime itself failed. After `start` nothing runs, and nothing will: it may be asked again."""


class Runtime(Protocol):
    async def create_sandbox(self, config: SandboxConfig) -> None:
        """Make the sandbox; what is there already stays. Raises StartError."""

    async def remove_sandbox(self, folder: Path) -> None:
        """Unpin everything. Not having one is no error."""

    async def start(self, bundle: Path) -> Handle:
        """Start the container of `bundle`. Raises StartError, RuntimeLost."""

    async def wait(self, handle: Handle) -> Exit:
        """The container's end, also when it came before the call."""

    def recover(self, bundle: Path) -> Handle | Exit | None:
        """What became of a bundle: running, ended, or never started (and then it never will be)."""


class Execs(Protocol):
    """Optional: run further processes in a container."""

    async def exec(
        self,
        handle: Handle,
        config: ExecConfig,
        stdio: tuple[int, int, int] | None,
        terminal: Callable[[int], None] | None = None,
    ) -> int:
        """Run a process to its end and return its exit code. Cancelling kills it and what it started.

        Its standard streams are `stdio`, which stays the caller's; with `config.tty` there is none, and `terminal` is
        called once with the master of a terminal of the container's own, which is then the caller's.
        Raises StartError when it cannot be started."""
