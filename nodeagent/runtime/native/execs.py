"""Further processes in a running container: exec.

The helper joins the namespaces of the container's init by pidfd, forks into its pid namespace and its cgroups, waits, and
sends the exit code. It belongs to the stream that asked for it: when that goes, all that the command started is killed.
"""

from __future__ import annotations

import json
import os
import select

from nodeagent.runtime.native import init, terminals
from nodeagent.runtime.native import monitor as monitors
from nodeagent.runtime.native import syscalls as sc
from nodeagent.runtime.native.execgroup import ExecGroup

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ALL = sc.CLONE_NEWNS | sc.CLONE_NEWPID | sc.CLONE_NEWNET | sc.CLONE_NEWIPC | sc.CLONE_NEWUTS | sc.CLONE_NEWCGROUP


def run(bundle: str, request: dict[str, Any], descriptors: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
    """`descriptors` are stdin, stdout and stderr, none for a terminal, and a socket for the master and the exit code."""
    *stdio, channel = descriptors
    with open(f"{bundle}/config.json") as file:
        config = json.load(file)
    config["args"] = request["args"]
    config["env"] = [*config["env"], *request["env"], *(["TERM=xterm"] if request["tty"] else [])]
    confinement = init.Confinement(config)
    group = ExecGroup(config["cgroups"])
    try:
        enter(bundle)
        pid = _start(config, confinement, stdio, channel, group=group)
        reply({"pid": pid})
        _end_with_reader(pid, channel, group)
        status = os.waitpid(pid, 0)[1]
    finally:
        group.release()
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    terminals.send(channel, b"%d" % code)


def enter(bundle: str, namespaces: int = _ALL) -> None:
    """Join the namespaces of the container's init: exactly the process that the monitor recorded. Raises OSError."""
    with open(f"{bundle}/state.json") as file:
        state = json.load(file)
    try:
        pidfd = os.pidfd_open(state["pid"])
        if monitors.start_time(state["pid"]) != state["pid_start"]:
            raise ProcessLookupError
    except (ProcessLookupError, FileNotFoundError):
        raise OSError("the container is not running") from None
    init.hide()
    # Its user namespace comes later, and for the command alone: the cgroups stay with a process of the host's.
    sc.setns(pidfd, namespaces)
    os.close(pidfd)


def _start(config: dict[str, Any], confinement: init.Confinement, stdio: list[int], channel: int, *, group: ExecGroup) -> int:
    """Fork the command and wait until it runs. Returns its pid. Raises OSError."""
    fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(fail_read)
        _become(config, confinement, stdio, channel, fail_write, group=group)
    for fd in (fail_write, *stdio):
        os.close(fd)
    failure = b""
    while chunk := os.read(fail_read, 4096):
        failure += chunk
    if failure:
        os.waitpid(pid, 0)
        raise OSError(failure.decode(errors="replace"))
    return pid


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


def _become(
    config: dict[str, Any], confinement: init.Confinement, stdio: list[int], channel: int, fail_write: int, *, group: ExecGroup
) -> None:
    try:
        group.join()
        confinement.enter_user()
        os.setsid()
        if stdio:
            for source, target in zip(stdio, (0, 1, 2), strict=True):
                os.dup2(source, target)
        else:
            terminals.take(channel, config["user"], console=False)
        init.become(config, confinement, fail_write)
    except BaseException as error:
        os.write(fail_write, monitors.reason(error, config["args"]).encode()[:4000])
    finally:
        os._exit(127)
