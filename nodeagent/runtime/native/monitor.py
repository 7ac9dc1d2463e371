"""One process for each container: starts its init, drains its output to the log, records its end.

It survives the launcher and the agent. What it knows it leaves in the bundle, each file whole or absent:
`state.json` once the program runs, `exit.json` when it has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time

from nodeagent.runtime.native import init, oom
from nodeagent.runtime.native import syscalls as sc
from nodeagent.runtime.native.logfile import LogFile

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CHUNK = 64 << 10
# Seconds to go on reading output after the end: processes outside the pid namespace may hold the pipes open.
DRAIN = 0.5


def run(bundle: str, reply: Callable[[dict[str, Any]], None]) -> None:
    """The monitor's whole life. `reply(answer)` is called once, when the program runs or has failed to."""
    with open(f"{bundle}/config.json") as file:
        config = json.load(file)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(f"{bundle}/cancelled"):
            raise OSError("the start was cancelled")
        if os.path.exists(f"{bundle}/state.json"):
            # Asked again by an agent that took the first request for lost.
            raise OSError("the container has been started already")
        log = LogFile(config["log"], config["log_max_bytes"], config["log_max_files"])
        watch = oom.Watch(config["cgroups"])
        pid, pipes, failure = _start(config, bundle)
        if failure:
            os.waitpid(pid, 0)
            raise OSError(failure)
        state = {
            "pid": pid,
            "pid_start": start_time(pid),
            "monitor": os.getpid(),
            "monitor_start": start_time(os.getpid()),
            "started_at": time.time(),
        }
        save(f"{bundle}/state.json", state)
    reply(state)
    status = _tend(pid, pipes, log, watch)
    log.close()
    save(f"{bundle}/exit.json", _exit_record(status, oom_killed=watch.killed()))


def _start(config: dict[str, Any], bundle: str) -> tuple[int, dict[int, bytes], str]:
    """Fork init in a new pid namespace. Returns its pid, the output pipes, and what went wrong."""
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
    cgroup = init.unified(config["cgroups"])
    pid = sc.fork(init.enter_pid_namespace(config), cgroup)
    if pid == 0:
        try:
            os.setsid()
            os.close(fail_read)
            null = os.open("/dev/null", os.O_RDONLY)
            for source, target in ((null, 0), (out_write, 1), (err_write, 2)):
                os.dup2(source, target)
            init.run(config, bundle, fail_write)
        except BaseException as error:
            os.write(fail_write, reason(error, config["args"]).encode()[:4000])
        finally:
            os._exit(127)
    for fd in (out_write, err_write, fail_write, *([cgroup] if cgroup >= 0 else [])):
        os.close(fd)
    failure = b""
    while chunk := os.read(fail_read, 4096):
        failure += chunk
    os.close(fail_read)
    return pid, {out_read: b"stdout", err_read: b"stderr"}, failure.decode(errors="replace")


def reason(error: BaseException, args: list[str]) -> str:
    if isinstance(error, FileNotFoundError) and not error.filename2 and "$PATH" in str(error):
        return f'exec: "{args[0]}": executable file not found in $PATH'
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f'exec: "{os.fsdecode(error.filename)}": {error.strerror.lower()}'
    return f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else error.strerror or str(error)


def _tend(pid: int, pipes: dict[int, bytes], log: LogFile, watch: oom.Watch) -> int:
    """Copy output until the process has ended and its pipes are dry. Returns the wait status."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    for fd in (*pipes, pidfd, *watch.fds):
        poll.register(fd, select.POLLIN)
    deadline: float | None = None
    while pipes or deadline is None:
        timeout = None if deadline is None else max(0, (deadline - time.monotonic()) * 1000)
        ready = poll.poll(timeout)
        if not ready and deadline is not None:
            break
        for fd, _ in ready:
            if fd == pidfd:
                poll.unregister(pidfd)
                deadline = time.monotonic() + DRAIN
            elif fd in watch.fds:
                watch.notice()
            else:
                _drain(fd, pipes, poll, log)
    return os.waitpid(pid, 0)[1]


def _drain(fd: int, pipes: dict[int, bytes], poll: Any, log: LogFile) -> None:
    data = os.read(fd, CHUNK)
    if data:
        log.write(pipes[fd], data)
    else:
        poll.unregister(fd)
        os.close(fd)
        del pipes[fd]


def _exit_record(status: int, *, oom_killed: bool) -> dict[str, Any]:
    record = {"finished_at": time.time(), "oom_killed": False, "signal": 0}
    if os.WIFSIGNALED(status):
        record["signal"] = os.WTERMSIG(status)
        record["code"] = 128 + record["signal"]
        record["oom_killed"] = oom_killed and record["signal"] == signal.SIGKILL
    else:
        record["code"] = os.WEXITSTATUS(status)
        record["oom_killed"] = oom_killed and record["code"] == 137
    return record


def save(path: str, value: dict[str, Any]) -> None:
    temporary = f"{path}.new"
    with open(temporary, "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def start_time(pid: int) -> int:
    """Clock ticks since boot at which the process started: with its pid, its identity (proc_pid_stat(5))."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
