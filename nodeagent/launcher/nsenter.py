"""How a process comes into a pid namespace in which others are: last, and with nothing left to be taken (CVE-2016-9962).

Whoever may trace in there sees it from its first moment, and through it the descriptors, the root and the powers that it
has. So it is not born there: a helper outside does all that needs the host (mounts, namespaces), gives up what the container
is not to have, and forks into the namespace what becomes the program. Nothing of ours is ever asked of a process in there,
for whoever traces it answers in its place: procfs, which shows the namespace of its opener, is what was opened before
anybody else was in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time

from nodeagent.launcher import bundle as bundles
from nodeagent.launcher import confinement, reaper
from nodeagent.linux import procfs, terminals
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodeagent.launcher.protocol import Config

# Seconds for a program to start, below what the agent waits for an answer: processes in there may stop what comes in.
STARTS_WITHIN = 50.0


def namespace(config: Config) -> int:
    """A descriptor of the pid namespace of others that a container is to be in; -1 when it has its own, or the node's.

    Raises OSError."""
    match config["pid_namespace"]:
        case "pod":
            if not reaper.alive(config["sandbox"]):
                raise OSError("PID 1 of the pod's PID namespace has exited")
            return os.open(bundles.namespace(config["sandbox"], "pid"), os.O_RDONLY | os.O_CLOEXEC)
        case "container":
            pid, started = config["pid_target"]
            fd = os.pidfd_open(pid)
            if procfs.start_time(pid) != started:
                raise OSError("targetContainerName: the container is not running")
            return fd
    return -1


def proc(config: Config, namespace: int) -> int:
    """A detached mount of procfs as it is in that namespace: the pod's, which its PID 1 has opened, or a copy of what
    the other container has as its own /proc. Raises OSError."""
    if config["pid_namespace"] == "pod":
        return sc.open_tree(sc.AT_FDCWD, bundles.proc(config["sandbox"]))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        helper = os.fork()
        if helper == 0:
            _copy(namespace, theirs)
        theirs.close()
        said, descriptors = terminals.receive(ours, 256)
        os.waitpid(helper, 0)
    if not descriptors:
        raise OSError(f"/proc of the other container: {said.decode(errors='replace') or 'its helper was killed'}")
    return descriptors[0]


def _copy(target: int, channel: socket.socket) -> None:
    """In a helper, which enters the mount namespace alone and is invisible in there."""
    try:
        sc.setns(target, sc.CLONE_NEWNS)
        root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        found = sc.openat2(root, "proc", sc.O_PATH, resolve=sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_SYMLINKS)
        if not sc.is_procfs(found):
            raise OSError("is not procfs")
        try:
            tree = sc.open_tree(found)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Where a user namespace owns the mounts, what is masked cannot be had without its masks.
            tree = sc.open_tree(found, recursive=True)
        terminals.send(channel.fileno(), b"proc", tree)
    except BaseException as error:
        channel.send(str(error).encode()[:200] or b"failed")
    finally:
        os._exit(0)


def fork(report: int, keep: set[int]) -> None:
    """Go on as a child in the pid namespace that this process has set for its children, as its parent's child and with
    no descriptors but `keep`; the pid of that child goes to `report`. For whoever has given up everything else."""
    confinement.close_but(keep | {report})
    pid = sc.fork_sibling()
    if pid:
        os.write(report, b"%d" % pid)
        os._exit(0)
    os.close(report)


def entered(helper: int, failures: int, reports: int) -> int:
    """Wait until what the helper forks is its program. `failures` and `reports` are read and closed. Returns its pid.

    Raises OSError with what went wrong."""
    poll = select.poll()
    poll.register(reports, select.POLLIN)
    if not poll.poll(STARTS_WITHIN * 1000):
        # A file system of the container's (FUSE) may never answer: for its working directory, or its terminal.
        os.kill(helper, signal.SIGKILL)
    number = os.read(reports, 32)
    os.close(reports)
    failed = failure(failures, [int(number)] if number else [])
    os.waitpid(helper, 0)
    if failed and number:
        os.waitpid(int(number), 0)
    if failed or not number:
        raise OSError(failed or "the process that starts the program was killed")
    return int(number)


def failure(pipe: int, pids: list[int], within: float = STARTS_WITHIN) -> str:
    """What children that are to become a program say of a failure, through a pipe that is closed here: nothing once they are
    the program. `pids`, of children that nobody has waited for, are killed when it takes too long."""
    deadline = time.monotonic() + within
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    said = b""
    try:
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            chunk = os.read(pipe, 4096)
            if not chunk:
                return said.decode(errors="replace")
            said += chunk
    finally:
        os.close(pipe)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return f"the program has not started within {within:.0f} s"
