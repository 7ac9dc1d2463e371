"""The container's first process, from fork to exec. Single-threaded and alone; any failure is told to the monitor.

The order is the point of this file: join what needs the host's view (cgroups, namespaces), then change the view
(mounts), then give up power (capabilities, user, seccomp), then become the program.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal

from nodeagent.runtime.native import capabilities, rootfs
from nodeagent.runtime.native import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = (("net", sc.CLONE_NEWNET), ("ipc", sc.CLONE_NEWIPC), ("uts", sc.CLONE_NEWUTS))


def run(config: dict[str, Any], bundle: str, parent: int) -> None:
    """Become the program of `config`. Raises OSError; never returns. For `parent` see `end_with`."""
    # The monitor's end is the container's end. Set again below: the kernel clears it when credentials change.
    end_with(parent)
    join_cgroups(config["cgroups"])
    _oom_score(config["oom_score_adj"])
    # The filter is read while the host's files can still be seen.
    filter_ = read_filter(config["seccomp"])
    for name, flag in _NAMESPACES:
        path = f"{config['sandbox']}/ns/{name}"
        if os.path.exists(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            sc.setns(fd, flag)
            os.close(fd)
    sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    rootfs.build(config, bundle)
    become(config, filter_, parent)


def end_with(parent: int) -> None:
    """End when the parent does, also when it has already: `parent` is a pipe that it reads. Raises OSError then."""
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(parent, 0)
    if poll.poll(0):
        raise OSError("the process that starts this one was killed")


def join_cgroups(folders: list[str]) -> None:
    for folder in folders:
        with open(f"{folder}/cgroup.procs", "w") as file:
            file.write("0")


def read_filter(path: str) -> bytes:
    if not path:
        return b""
    with open(path, "rb") as file:
        return file.read()


def _oom_score(value: int) -> None:
    # Lowering needs CAP_SYS_RESOURCE, which some machines withhold; it is a hint to the kernel, not a promise to users.
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(value))


def become(config: dict[str, Any], filter_: bytes, parent: int) -> None:
    """Working directory, privileges, descriptors, exec. Also the second half of `exec` in a running container."""
    _enter_cwd(config["cwd"])
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    drop_privileges(config, filter_)
    end_with(parent)
    # Python ignores these; a program expects the defaults.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sc.close_range_cloexec(3)
    environment = dict(item.split("=", 1) for item in config["env"])
    execute(config["args"], environment)


def _enter_cwd(path: str) -> None:
    if not os.path.isdir(path):
        os.makedirs(path, 0o755, exist_ok=True)
    os.chdir(path)
    # A descriptor that leaked into the image's WORKDIR would show as a path outside the root (CVE-2024-21626).
    if not os.getcwd().startswith("/"):
        raise OSError(f"the working directory {path} lies outside the container")


def drop_privileges(config: dict[str, Any], filter_: bytes) -> None:
    wanted = capabilities.mask(config["capabilities"])
    for number in range(len(capabilities.NAMES)):
        if not wanted >> number & 1:
            try:
                sc.prctl(sc.PR_CAPBSET_DROP, number)
            except OSError:
                # A capability that this kernel does not know cannot be held either.
                continue
    if config["no_new_privileges"]:
        sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    if filter_:
        # Needs CAP_SYS_ADMIN unless no_new_privs is set, so it goes before the capabilities do.
        sc.load_seccomp(filter_)
    os.setgroups(config["groups"])
    os.setresgid(config["group"], config["group"], config["group"])
    os.setresuid(config["user"], config["user"], config["user"])
    if config["user"] == 0:
        sc.capset(wanted)


def execute(args: list[str], environment: dict[str, str]) -> None:
    """execve along PATH as the container sees it. Raises FileNotFoundError, PermissionError, OSError."""
    program = args[0]
    if "/" in program:
        os.execve(program, args, environment)
    denied = None
    for folder in environment.get("PATH", DEFAULT_PATH).split(":"):
        try:
            os.execve(os.path.join(folder, program), args, environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            denied = error
    raise denied or FileNotFoundError(2, f"executable file not found in $PATH: {program}")
