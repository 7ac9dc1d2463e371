"""Starts a container by an OCI runtime, in place of our own init. Runs in the container's monitor.

The runtime works in a mount namespace that ends with it: there the overlay and the volumes are laid out, so that nothing
is mounted where others see it and nothing is left when anybody is killed. The container's process outlives the runtime
and becomes the monitor's child (PR_SET_CHILD_SUBREAPER), which waits for it as for one of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import stat
import time

from nodeagent.launcher import binds, init, rootfs
from nodeagent.launcher import bundle as bundles
from nodeagent.linux import procfs, terminals
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nodeagent.launcher.monitor import Streams
    from nodeagent.launcher.protocol import Config, OciStart

# Seconds for the runtime to start a container, below what the agent waits for an answer; and to delete one.
START_WITHIN = 50.0
DELETE_WITHIN = 30.0
ADOPT_WITHIN = 5.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
CGROUPS = "/sys/fs/cgroup"
_PR_SET_CHILD_SUBREAPER = 36


class Starter:
    """`how` is the request's: the runtime's binary, its state folder (`root`) and the container's id in it."""

    def __init__(self, how: OciStart) -> None:
        self._command = [how["binary"], "--root", how["root"]]
        self._id = how["id"]

    def start(self, config: Config, bundle: str, streams: Streams, meanwhile: Callable[[], None]) -> int:
        """Returns the pid of the container's first process, a child of this one. Raises OSError with what went wrong."""
        folder = bundles.oci(bundle)
        console = Console(folder) if streams.console is not None else None
        command = [
            *self._command, "--log", f"{folder}/log", "--log-format", "json",
            "run", "--detach", "--bundle", folder, "--pid-file", f"{folder}/pid",
            *(console.arguments if console else ()), self._id,
        ]  # fmt: skip
        # On a v2 machine the runtime moves the container into its cgroup, which must be empty until then.
        cgroup = init.unified(config["cgroups"]) if _on_v1(config["cgroups"]) else -1
        sc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        try:
            failure = _run(command, START_WITHIN, lambda: _prepare(config, bundle, streams), cgroup)
            if failure:
                raise OSError(_logged(f"{folder}/log") or failure)
            if console is not None and streams.console is not None:
                console.pass_on(streams.console.fileno())
            return _adopt(f"{folder}/pid")
        except BaseException:
            self.clean()
            raise
        finally:
            # What has become our child stays so; processes that the container leaves behind are not ours to reap.
            sc.prctl(_PR_SET_CHILD_SUBREAPER, 0)
            if cgroup >= 0:
                os.close(cgroup)

    def clean(self) -> None:
        """Have the runtime end and forget the container. Not having it is no error."""
        _run([*self._command, "delete", "--force", self._id], DELETE_WITHIN, _to_null)


class Console:
    """Where the runtime sends the master of the terminal that it makes (runc's --console-socket)."""

    def __init__(self, folder: str) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Through this process, because a Unix socket's path must be short.
        path = f"/proc/{os.getpid()}/fd/{self._folder}/console"
        self.arguments = ("--console-socket", path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(ADOPT_WITHIN)
        self._listener.bind(path)
        self._listener.listen(1)

    def pass_on(self, channel: int) -> None:
        """The master to `channel`, as our own init sends it. Raises OSError."""
        sender, _ = self._listener.accept()
        master = terminals.receive(sender)[1][0]
        terminals.send(channel, b"terminal", master)
        os.close(master)
        sender.close()
        self._listener.close()
        os.close(self._folder)


def _adopt(path: str) -> int:
    """The pid in a file, once it is our child: a process of the runtime's may outlive the runtime for a moment."""
    with open(path) as file:
        pid = int(file.read())
    deadline = time.monotonic() + ADOPT_WITHIN
    while procfs.parent(pid) != os.getpid():
        if time.monotonic() > deadline:
            raise OSError("the runtime's processes do not let go of the container")
        time.sleep(0.001)
    return pid


def _run(command: list[str], within: float, prepare: Callable[[], None], cgroup: int = -1) -> str:
    """Run a program to its end, at most `within` seconds, after `prepare` in its process. Returns what went wrong."""
    fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
    pid = sc.fork(0, cgroup)
    if pid == 0:
        try:
            os.close(fail_read)
            init.end_with(fail_write)
            prepare()
            # Python ignores these, and the container's program would inherit that.
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            sc.close_range_cloexec(3)
            os.execve(command[0], command, ENVIRONMENT)
        except BaseException as error:
            os.write(fail_write, str(error).encode()[:4000])
        finally:
            os._exit(127)
    os.close(fail_write)
    status = _wait(pid, within)
    with open(fail_read, "rb") as pipe:
        failure = pipe.read().decode(errors="replace")
    if status and not failure:
        return f"{os.path.basename(command[0])} failed (wait status {status})"
    return failure


def _to_null() -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for target in (0, 1, 2):
        os.dup2(null, target)


def _wait(pid: int, within: float) -> int:
    """The wait status of a child, which is killed when it takes longer."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(within * 1000):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    return os.waitpid(pid, 0)[1]


def _logged(path: str) -> str:
    """The last error in the runtime's log, without what only says that it failed."""
    text = ""
    with contextlib.suppress(OSError, ValueError), open(path) as file:
        for line in file:
            entry = json.loads(line)
            if entry.get("level") == "error":
                text = str(entry.get("msg", ""))
    for prefix in ("runc run failed: ", "unable to start container process: ", "container_linux.go: "):
        text = text.removeprefix(prefix)
    return text


# In the runtime's process, before it is that


def _prepare(config: Config, bundle: str, streams: Streams) -> None:
    """Lay out in a new mount namespace what the OCI configuration names. Raises OSError."""
    streams.take()
    init.oom_score(config["oom_score_adj"])
    sc.unshare(sc.CLONE_NEWNS)
    # Before the mounts of this namespace let go of the host's: a copy keeps the propagation that it was made with.
    trees = [binds.source(item, -1, privileged=config["privileged"]) for item in config["mounts"]]
    # Not private: an unmount on the host is to reach this namespace, and the container's.
    sc.mount("", "/", "", sc.MS_REC | sc.MS_SLAVE)
    _hide_hierarchies(config["cgroups"])
    rootfs.overlay(config, bundle, f"{bundles.oci(bundle)}/rootfs", -1)
    for number, tree in enumerate(trees):
        _attach(tree, f"{bundles.oci(bundle)}/mounts/{number}")
    if config["pid_namespace"] == "container":
        pid, started = config["pid_target"]
        _bind_pid_namespace(pid, started, f"{bundles.oci(bundle)}/pid-namespace")


def _attach(tree: int, path: str) -> None:
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.makedirs(path, 0o700)
        target = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        target = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    sc.move_mount(tree, target)
    os.close(target)
    os.close(tree)


def _bind_pid_namespace(pid: int, started: int, path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    sc.mount(f"/proc/{pid}/ns/pid", path, "", sc.MS_BIND)
    if procfs.start_time(pid) != started:
        raise OSError("the target container is not running")


def _on_v1(folders: list[str]) -> list[str]:
    return [os.path.realpath(folder) for folder in folders if os.path.exists(f"{folder}/tasks")]


def _hide_hierarchies(folders: list[str]) -> None:
    """Leave only those v1 hierarchies below /sys/fs/cgroup in which the container has a cgroup of ours.

    A runtime would make a cgroup in each hierarchy that it sees, with parents that are never removed; and crun refuses
    hybrid machines altogether. There its process was born in the container's v2 cgroup, which the container inherits."""
    points = sorted({_mount_point(folder) for folder in _on_v1(folders)})
    if not points:
        return
    trees = [(os.path.basename(point), sc.open_tree(sc.AT_FDCWD, point)) for point in points]
    # A controller that is mounted together with another has its name as a symlink.
    links = [(entry.name, os.readlink(entry.path)) for entry in os.scandir(CGROUPS) if entry.is_symlink()]
    # The rest is not covered but gone: runtimes read the list of mounts as well as the folders.
    sc.umount(CGROUPS, sc.MNT_DETACH)
    sc.mount("cgroups", CGROUPS, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC, "mode=755,size=64k")
    for name, tree in trees:
        _attach(tree, f"{CGROUPS}/{name}")
    names = [name for name, _ in trees]
    for name, target in links:
        if target in names:
            os.symlink(target, f"{CGROUPS}/{name}")


def _mount_point(path: str) -> str:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
