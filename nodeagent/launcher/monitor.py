"""One process for each container: has it started, drains its output to the log, records its end.

It survives the launcher and the agent. What it knows it leaves in the bundle, each file whole or absent:
`state.json` once the program runs, `exit.json` when it has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time

from nodeagent.launcher import attachments, init, nsenter, oom
from nodeagent.launcher import bundle as bundles
from nodeagent.launcher.logfile import LogFile
from nodeagent.launcher.tending import Tender
from nodeagent.linux import procfs, smallfiles, terminals
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from nodeagent.launcher.protocol import Config, ExitRecord, Owner, State

    class Starter(Protocol):
        """How a container's first process comes to be: our own `init`, or an OCI runtime."""

        def start(self, config: Config, bundle: str, streams: Streams, meanwhile: Callable[[], None]) -> int:
            """Returns its pid, a child of this process, once it is the program. Raises OSError with what went wrong.

            `meanwhile` may be called while it is on its way: it does ahead what the caller will do then."""

        def clean(self) -> None:
            """After its end."""


# Clients that may wait to be attached.
BACKLOG = 16


def run(bundle: str, starter: Starter, reply: Callable[[State], None]) -> None:
    """The monitor's whole life. `reply(answer)` is called once, when the program runs. Raises OSError when it cannot."""
    with open(bundles.config(bundle), "rb", buffering=0) as file:
        config = json.loads(file.read())
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(bundles.cancelled(bundle)) or not _still_there(file.fileno(), bundle):
            raise OSError("the start was cancelled")
        if os.path.exists(bundles.state(bundle)):
            # Asked again by an agent that took the first request for lost.
            raise OSError("the container has been started already")
        log = LogFile(config["log"], config["log_max_bytes"], config["log_max_files"])
        watch = oom.Watch(config["cgroups"])
        # From the beginning, so that the first word of the program can be heard.
        listener = attachments.listen(bundle, BACKLOG)
        record = Record()
        pid, streams = _start(config, bundle, starter, record.prepare)
        if not _still_there(file.fileno(), bundle):
            # It took longer than the agent waits, and has perhaps begun again: what is there now is another's.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if not os.path.exists(bundles.config(bundle)):
                starter.clean()
            raise OSError("the start was given up meanwhile")
        state = record.of(pid)
        smallfiles.save(bundles.state(bundle), state)
    reply(state)
    tender = Tender(listener, streams.outputs, streams.stdin, terminal=config["terminal"], log=log, watch=watch)
    status = tender.run(pid)
    log.close()
    smallfiles.save(bundles.exit_record(bundle), _exit_record(status, oom_killed=watch.killed()))
    starter.clean()


def _still_there(config: int, bundle: str) -> bool:
    """Whether the configuration that a descriptor holds is still that of the bundle."""
    try:
        return os.path.samestat(os.fstat(config), os.stat(bundles.config(bundle)))
    except FileNotFoundError:
        return False


class Record:
    """What `state.json` says."""

    def __init__(self) -> None:
        self._monitor_start = 0

    def of(self, pid: int) -> State:
        """Of the container's first process, which has just become its program."""
        return {
            "pid": pid,
            "pid_start": procfs.start_time(pid),
            "monitor": os.getpid(),
            "monitor_start": self._monitor_start or procfs.start_time(os.getpid()),
            "started_at": time.time(),
        }

    def prepare(self) -> None:
        """Since the fork, every page that is written to must be copied: those that `of` needs, while there is nothing to do
        but to wait."""
        self._monitor_start = procfs.start_time(os.getpid())
        json.dumps(self.of(os.getpid()))


class Streams:
    """Both ends of the program's standard streams. A terminal's master comes later, from the program's side."""

    def __init__(self, config: Owner) -> None:
        terminal = config["terminal"]
        self.outputs: dict[int, bytes] = {}
        self.stdin = -1
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._child = [self._null] * 3
        self._ours: socket.socket | None = None
        self.console: socket.socket | None = None
        if terminal["tty"]:
            self._ours, self.console = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        else:
            for target, name in ((1, b"stdout"), (2, b"stderr")):
                ours, self._child[target] = os.pipe2(os.O_CLOEXEC)
                self.outputs[ours] = name
            if terminal["stdin"]:
                self._child[0], self.stdin = os.pipe2(os.O_CLOEXEC)
            init.give_pipes(config, self._child)

    def take(self) -> None:
        """In the program's process, before it has a terminal: what it reads and writes until then."""
        for target, source in enumerate(self._child):
            os.dup2(source, target)

    def settle(self, *, runs: bool) -> None:
        """In the monitor, once the program runs or has failed to."""
        for fd in {self._null, *self._child}:
            os.close(fd)
        if self._ours is not None and self.console is not None:
            self.console.close()
            if runs:
                self.stdin = terminals.receive(self._ours)[1][0]
                self.outputs[self.stdin] = b"stdout"
            self._ours.close()


class NativeStarter:
    """Our own `init`."""

    def start(self, config: Config, bundle: str, streams: Streams, meanwhile: Callable[[], None]) -> int:
        fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
        enters = config["pid_namespace"] in ("pod", "container")
        pid_read, pid_write = os.pipe2(os.O_CLOEXEC) if enters else (-1, -1)
        cgroup = init.unified(config["cgroups"])
        pid = sc.fork(sc.CLONE_NEWPID if config["pid_namespace"] == "own" else 0, cgroup)
        if pid == 0:
            try:
                os.setsid()
                os.close(fail_read)
                streams.take()
                console = -1 if streams.console is None else streams.console.fileno()
                init.run(config, bundle, init.Ways(fail_write, console, pid_write))
            except BaseException as error:
                os.write(fail_write, reason(error, config["args"]).encode()[:4000])
            finally:
                os._exit(127)
        for fd in (fd for fd in (fail_write, pid_write, cgroup) if fd >= 0):
            os.close(fd)
        meanwhile()
        return nsenter.entered(pid, fail_read, pid_read) if enters else _started(pid, fail_read)

    def clean(self) -> None:
        """Nothing: what the container has goes with its processes."""


def _started(pid: int, failures: int) -> int:
    """Wait until a child is its program; `failures` is read and closed. Returns its pid. Raises OSError."""
    failure = nsenter.failure(failures, [pid])
    if failure:
        os.waitpid(pid, 0)
        raise OSError(failure)
    return pid


def _start(config: Config, bundle: str, starter: Starter, meanwhile: Callable[[], None]) -> tuple[int, Streams]:
    """Returns the pid of the container's first process and its streams. Raises OSError."""
    streams = Streams(config)
    runs = False
    try:
        pid = starter.start(config, bundle, streams, meanwhile)
        runs = True
    finally:
        streams.settle(runs=runs)
    return pid, streams


def reason(error: BaseException, args: list[str]) -> str:
    if isinstance(error, FileNotFoundError) and not error.filename2 and "$PATH" in str(error):
        return f'exec: "{args[0]}": executable file not found in $PATH'
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f'exec: "{os.fsdecode(error.filename)}": {error.strerror.lower()}'
    return f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else error.strerror or str(error)


def _exit_record(status: int, *, oom_killed: bool) -> ExitRecord:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + number if number else os.WEXITSTATUS(status)
    killed = oom_killed and code == 128 + signal.SIGKILL
    return {"finished_at": time.time(), "oom_killed": killed, "signal": number, "code": code}
