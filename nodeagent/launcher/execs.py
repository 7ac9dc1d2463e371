"""Further processes in a running container: exec.

The helper joins the namespaces of the container's init by pidfd, forks into its pid namespace and its cgroups, waits, and
sends the exit code. It belongs to the stream that asked for it: when that goes, all that the command started is killed.
"""

from __future__ import annotations

import json
import os
import select

from nodeagent.launcher import bundle as bundles
from nodeagent.launcher import init, nsenter
from nodeagent.launcher import monitor as monitors
from nodeagent.launcher.confinement import Confinement, hide
from nodeagent.launcher.execgroup import ExecGroup
from nodeagent.linux import procfs, smallfiles, terminals
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeagent.launcher.protocol import Config, Exec, Started

# Not the pid namespace, in which this process could be seen, nor the user namespace: the cgroups stay the host's.
_ALL = sc.CLONE_NEWNS | sc.CLONE_NEWNET | sc.CLONE_NEWIPC | sc.CLONE_NEWUTS | sc.CLONE_NEWCGROUP


def run(bundle: str, request: Exec, descriptors: list[int], reply: Callable[[Started], None]) -> None:
    """`descriptors` are stdin, stdout and stderr, none for a terminal, and a socket for the master and the exit code."""
    *stdio, channel = descriptors
    config = json.loads(smallfiles.read(bundles.config(bundle)))
    config["args"] = request["args"]
    config["env"] = [*config["env"], *request["env"], *(["TERM=xterm"] if request["tty"] else [])]
    confinement = Confinement(config)
    init.give_pipes(config, stdio)
    group = ExecGroup(config["cgroups"])
    try:
        pidfd = enter(bundle)
        pid = _start(config, Entry(confinement, group, pidfd, channel), stdio)
        reply({"pid": pid})
        _end_with_reader(pid, channel, group)
        status = os.waitpid(pid, 0)[1]
    finally:
        group.release()
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    terminals.send(channel, b"%d" % code)


def enter(bundle: str, namespaces: int = _ALL) -> int:
    """Join namespaces of the container's init: exactly the process that the monitor recorded. Returns its pidfd.

    Raises OSError."""
    state = json.loads(smallfiles.read(bundles.state(bundle)))
    try:
        pidfd = os.pidfd_open(state["pid"])
        if procfs.start_time(state["pid"]) != state["pid_start"]:
            raise ProcessLookupError
    except (ProcessLookupError, FileNotFoundError):
        raise OSError("the container is not running") from None
    hide()
    sc.setns(pidfd, namespaces)
    return pidfd


class Entry:
    """What the command needs on its way in: the container's pidfd, and the socket that its terminal goes through."""

    def __init__(self, confinement: Confinement, group: ExecGroup, pidfd: int, channel: int) -> None:
        self.confinement = confinement
        self.group = group
        self.pidfd = pidfd
        self.channel = channel


def _start(config: Config, entry: Entry, stdio: list[int]) -> int:
    """Have the command forked (see `entering`) and wait until it runs. Returns its pid. Raises OSError."""
    fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
    pid_read, pid_write = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        os.close(fail_read)
        _become(config, entry, stdio, fail_write, pid_write)
    for fd in (fail_write, pid_write, entry.pidfd, *stdio):
        os.close(fd)
    return nsenter.entered(helper, fail_read, pid_read)


def _end_with_reader(pid: int, channel: int, group: ExecGroup) -> None:
    """Wait for the end of the process. When the stream goes, or the agent, the socket's other end does: all is killed."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(channel, 0)
    if channel in (fd for fd, _ in poll.poll()):
        group.kill()
        os.kill(pid, 9)
    os.close(pidfd)


def _become(config: Config, entry: Entry, stdio: list[int], fail_write: int, pid_write: int) -> None:
    def inside() -> None:
        nsenter.fork(pid_write, {0, 1, 2, fail_write})
        os.setsid()
        if not stdio:
            terminals.control()

    try:
        entry.group.join()
        sc.setns(entry.pidfd, sc.CLONE_NEWPID)
        entry.confinement.enter_user()
        for source, target in zip(stdio, (0, 1, 2), strict=False):
            os.dup2(source, target)
        if not stdio:
            # As root: the user of a user namespace could not make the terminal its own.
            terminals.take(entry.channel, config["user"], console=False)
        init.become(config, entry.confinement, fail_write, inside)
    except BaseException as error:
        os.write(fail_write, monitors.reason(error, config["args"]).encode()[:4000])
    finally:
        os._exit(127)
