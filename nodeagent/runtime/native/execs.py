"""Further processes in a running container: exec.

The helper joins the cgroups and the namespaces of the container's init by pidfd, forks into its pid namespace, waits,
and writes the exit code to a pipe. It belongs to the stream that asked for it and ends with it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import termios

from nodeagent.runtime.native import init
from nodeagent.runtime.native import monitor as monitors
from nodeagent.runtime.native import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ALL = sc.CLONE_NEWNS | sc.CLONE_NEWPID | sc.CLONE_NEWNET | sc.CLONE_NEWIPC | sc.CLONE_NEWUTS | sc.CLONE_NEWCGROUP


def run(bundle: str, request: dict[str, Any], descriptors: list[int], reply: Callable[[dict[str, Any]], None]) -> None:
    """`descriptors` are stdin, stdout, stderr and the pipe for the exit code."""
    stdin, stdout, stderr, status = descriptors
    with open(f"{bundle}/config.json") as file:
        config = json.load(file)
    with open(f"{bundle}/state.json") as file:
        state = json.load(file)
    config["args"] = request["args"]
    if request["tty"]:
        config["env"] = [*config["env"], "TERM=xterm"]
    filter_ = init.read_filter(config["seccomp"])
    pidfd = os.pidfd_open(state["pid"])
    if monitors.start_time(state["pid"]) != state["pid_start"]:
        raise OSError("the container is not running")
    init.join_cgroups(config["cgroups"])
    sc.setns(pidfd, _ALL)
    os.close(pidfd)
    fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(fail_read)
        _become(config, filter_, (stdin, stdout, stderr), fail_write, tty=request["tty"])
    for fd in (fail_write, stdin, stdout, stderr):
        os.close(fd)
    failure = b""
    while chunk := os.read(fail_read, 4096):
        failure += chunk
    if failure:
        os.waitpid(pid, 0)
        raise OSError(failure.decode(errors="replace"))
    reply({"pid": pid})
    _end_with_reader(pid, status)
    code = os.waitpid(pid, 0)[1]
    os.write(status, b"%d" % (128 + os.WTERMSIG(code) if os.WIFSIGNALED(code) else os.WEXITSTATUS(code)))


def _end_with_reader(pid: int, status: int) -> None:
    """Wait for the end of the process. When the stream goes, or the agent, the pipe has no reader: it is killed."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(status, 0)
    if status in (fd for fd, _ in poll.poll()):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)


def _become(config: dict[str, Any], filter_: bytes, stdio: tuple[int, int, int], fail_write: int, *, tty: bool) -> None:
    try:
        os.setsid()
        for source, target in zip(stdio, (0, 1, 2), strict=True):
            os.dup2(source, target)
        if tty:
            import fcntl

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        init.become(config, filter_, fail_write)
    except BaseException as error:
        os.write(fail_write, monitors._reason(error, config["args"]).encode()[:4000])
    finally:
        os._exit(127)
