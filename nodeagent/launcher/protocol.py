"""What agent, launcher, monitor and init say to each other: requests, answers, and the JSON files of a bundle.

Requests go over a Unix socket (SEQPACKET), one JSON object a message, with file descriptors where the operation wants them.
Each is answered once, by `Answer`. The shapes exist for mypy alone: importing typing costs memory in every monitor.
`Config` is `runtime.interface.ContainerConfig` as JSON, `Sandbox` is `SandboxConfig`; a test holds them together.
"""

from __future__ import annotations

# Not typing.TYPE_CHECKING, for the same reason.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, NotRequired, TypedDict

    class Ids(TypedDict):
        first: int
        size: int

    class Mount(TypedDict):
        source: str
        target: str
        read_only: bool
        sub_path: str
        recursive_read_only: bool
        propagation: Literal["None", "HostToContainer", "Bidirectional"]
        idmap: bool

    class Terminal(TypedDict):
        stdin: bool
        once: bool
        tty: bool

    class Owner(TypedDict):
        """Whose a container's standard streams are."""

        user: int
        ids: Ids | None
        terminal: Terminal

    class Config(Owner):
        """`config.json`."""

        args: list[str]
        env: list[str]
        cwd: str
        layers: list[str]
        sandbox: str
        log: str
        group: int
        groups: list[int]
        mounts: list[Mount]
        cgroups: list[str]
        hierarchies: list[str]
        capabilities: list[str]
        privileged: bool
        no_new_privileges: bool
        read_only_root: bool
        masked: bool
        seccomp: str
        apparmor: str
        oom_score_adj: int
        pid_namespace: Literal["own", "pod", "host", "container"]
        pid_target: tuple[int, int]
        host_network: bool
        host_ipc: bool
        log_max_bytes: int
        log_max_files: int

    class State(TypedDict):
        """`state.json`. Start times are in clock ticks since boot (proc_pid_stat(5)), `started_at` in seconds (time(2))."""

        pid: int
        pid_start: int
        monitor: int
        monitor_start: int
        started_at: float

    class ExitRecord(TypedDict):
        """`exit.json`. `signal` is 0 unless one ended the process; `code` is then 128 + signal."""

        code: int
        signal: int
        oom_killed: bool
        finished_at: float

    class OciStart(TypedDict):
        """How an OCI runtime is to start a container: its program, its state directory, the container's name in it."""

        binary: str
        root: str
        id: str

    class GetVersion(TypedDict):
        id: int
        op: Literal["version"]

    class Sandbox(TypedDict):
        id: int
        op: Literal["sandbox"]
        folder: str
        hostname: str
        host_network: bool
        host_ipc: bool
        shared_pid: bool
        ids: Ids | None
        sysctls: list[list[str]]
        cgroups: list[str]

    class Unpin(TypedDict):
        id: int
        op: Literal["unpin"]
        folder: str

    class Start(TypedDict):
        id: int
        op: Literal["start"]
        bundle: str
        oci: NotRequired[OciStart]

    class Exec(TypedDict):
        """Descriptors: standard input, output and error (none with a terminal), and a Unix socket for the terminal's master
        and the exit code."""

        id: int
        op: Literal["exec"]
        bundle: str
        args: list[str]
        env: list[str]
        tty: bool

    class Copy(TypedDict):
        """Descriptors as for an exec without terminal."""

        id: int
        op: Literal["copy"]
        bundle: str
        path: str
        unpack: bool

    Request = GetVersion | Sandbox | Unpin | Start | Exec | Copy

    class Started(TypedDict):
        """What an exec or a copy answers: the helper runs."""

        pid: int

    class Version(TypedDict):
        """What `version` answers: the digest of the code that the launcher runs."""

        version: str

    class Done(TypedDict):
        """What `sandbox` and `unpin` answer."""

    class Answer(TypedDict):
        """One of three: `ok`; `error`, a text for users; `lost`, the fork that worked on it was killed."""

        id: NotRequired[int]
        ok: NotRequired[State | Started | Version | Done]
        error: NotRequired[str]
        lost: NotRequired[str]


# Bytes of one message.
MAX_MESSAGE = 64 << 10
