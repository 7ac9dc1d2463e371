"""The container's first process, from fork to exec. Single-threaded and alone; any failure is told to the monitor.

The order is the point of this file: join what needs the host's view (cgroups, namespaces), then change the view
(mounts), then become someone else (the user namespace), then give up power (capabilities, user, seccomp), then become
the program. docs/design/isolation.md walks through it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import stat

from nodeagent.launcher import bundle as bundles
from nodeagent.launcher import nsenter, passwd, rootfs
from nodeagent.launcher.confinement import Confinement, hide
from nodeagent.linux import capabilities, smallfiles, terminals
from nodeagent.linux import syscalls as sc

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nodeagent.launcher.protocol import Config, Owner

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Open files: what systemd gives a service to begin with, and how far a program may raise it by itself.
_OPEN_FILES, _MAX_OPEN_FILES = 1024, 1 << 20


class Ways:
    """How the first process and its monitor reach each other: `failures` is a pipe whose reader is the monitor (see
    `end_with`), `console` the Unix socket that the master of its terminal is sent through (-1: none), and `report` a pipe
    for the pid of a process that enters a namespace of others (-1: this one becomes the program)."""

    def __init__(self, failures: int, console: int, report: int) -> None:
        self.failures = failures
        self.console = console
        self.report = report


def run(config: Config, bundle: str, ways: Ways) -> None:
    """Become the program of `config`. Raises OSError; never returns."""
    # The monitor's end is the container's end. Set again below: the kernel clears it when credentials change.
    end_with(ways.failures)
    hide()
    join_cgroups(config["cgroups"])
    oom_score(config["oom_score_adj"])
    confinement = Confinement(config)
    processes = nsenter.namespace(config)
    _join_sandbox(config)
    procfs = nsenter.proc(config, processes) if processes >= 0 else -1
    sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    rootfs.build(config, bundle, confinement.userns, procfs)
    if processes >= 0:
        # Of the children of this process; it stays where nobody of the container's sees it.
        sc.setns(processes, sc.CLONE_NEWPID)
    if confinement.userns >= 0:
        # The mounts are the host's work up to here, so that layers and volumes can be id-mapped and devices made. In a
        # mount namespace that a user namespace owns, copies of them are locked: no capability that the container holds
        # there takes a mask away or makes a read-only mount writable.
        confinement.enter_user()
        sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    if ways.console >= 0:
        terminals.take(ways.console, config["user"], console=True)
    become(config, confinement, ways.failures, lambda: _lead(ways))


def _lead(ways: Ways) -> None:
    """The last steps, without any power but the container's: inside, and at the head of the container's session."""
    if ways.report >= 0:
        nsenter.fork(ways.report, {0, 1, 2, ways.failures})
        os.setsid()
    if ways.console >= 0:
        terminals.control()


def _join_sandbox(config: Config) -> None:
    """The pod's namespaces. One that is missing and not the host's by intent is an error, never the host's."""
    if not config["host_network"]:
        _join(bundles.namespace(config["sandbox"], "net"), sc.CLONE_NEWNET)
        _join(bundles.namespace(config["sandbox"], "uts"), sc.CLONE_NEWUTS)
    if not config["host_ipc"]:
        _join(bundles.namespace(config["sandbox"], "ipc"), sc.CLONE_NEWIPC)


def _join(path: str, flag: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    sc.setns(fd, flag)
    os.close(fd)


def end_with(parent: int) -> None:
    """End when the parent does, also when it has already: `parent` is a pipe that it reads. Raises OSError then."""
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(parent, 0)
    if poll.poll(0):
        raise OSError("the process that starts this one was killed")


def give_pipes(config: Owner, descriptors: Iterable[int]) -> None:
    """Make the container's user the owner of those that are pipes, so that it can open them by name (/dev/stdout), as runc
    does. To be called with the host's user IDs. Raises OSError."""
    first = config["ids"]["first"] if config["ids"] else 0
    for fd in descriptors:
        # The inode of anything else, such as /dev/null, is the host's.
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, first + config["user"], -1)


def join_cgroups(folders: list[str]) -> None:
    """Join the v1 cgroups; the v2 cgroup is where `syscalls.fork` puts a process."""
    for folder in folders:
        # `tasks` and not cgroup.procs: the kernel moves a thread that names itself without its lock on all forks, whose
        # wait for a grace period of RCU is some 6 ms on an idle machine. There is but one thread.
        with contextlib.suppress(FileNotFoundError):
            smallfiles.write(f"{folder}/tasks", b"0")


def unified(folders: list[str]) -> int:
    """A descriptor of the v2 cgroup, for `syscalls.fork`; -1 when there is none."""
    for folder in folders:
        if not os.path.exists(f"{folder}/tasks"):
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return -1


def oom_score(value: int) -> None:
    # Lowering needs CAP_SYS_RESOURCE, which some machines withhold; it is a hint to the kernel, not a promise to users.
    with contextlib.suppress(PermissionError):
        smallfiles.write("/proc/self/oom_score_adj", b"%d" % value)


def become(config: Config, confinement: Confinement, parent: int, then: Callable[[], None] | None = None) -> None:
    """Working directory, privileges, descriptors, exec. Also the second half of `exec` in a running container, which does
    `then` once it has no privileges but the container's."""
    os.umask(0o022)
    for name, limits in rlimits().items():
        resource.setrlimit(getattr(resource, name), limits)
    entered = _enter_cwd(config["cwd"])
    environment = dict(item.split("=", 1) for item in config["env"])
    # While it may: a seccomp profile of the user's need not allow it.
    environment["HOME"] = environment.get("HOME") or passwd.home(config["user"])
    drop_privileges(config, confinement)
    if not entered:
        os.chdir(config["cwd"])
    # A descriptor that leaked into the image's WORKDIR would show as a path outside the root (CVE-2024-21626).
    if not os.getcwd().startswith("/"):
        raise OSError(f"the working directory {config['cwd']} lies outside the container")
    if then is not None:
        then()
    end_with(parent)
    # Python ignores these; a program expects the defaults.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sc.close_range_cloexec(3)
    execute(config["args"], environment)


def rlimits() -> dict[str, tuple[int, int]]:
    """Soft and hard limits of a container's processes, by name in `resource`."""
    # The node's own limit is the most without CAP_SYS_RESOURCE.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    hard = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    core = (0, resource.getrlimit(resource.RLIMIT_CORE)[1])
    return {"RLIMIT_CORE": core, "RLIMIT_NOFILE": (min(_OPEN_FILES, hard), hard)}


def _enter_cwd(path: str) -> bool:
    """As the container's root, which makes it when it is missing; False when only the user may enter it (as in runc)."""
    try:
        os.makedirs(path, 0o755, exist_ok=True)
        os.chdir(path)
    except PermissionError:
        return False
    return True


def drop_privileges(config: Config, confinement: Confinement) -> None:
    wanted = capabilities.mask(config["capabilities"])
    for number in range(len(capabilities.NAMES)):
        if not wanted >> number & 1:
            try:
                sc.prctl(sc.PR_CAPBSET_DROP, number)
            except OSError:
                # A capability that this kernel does not know cannot be held either.
                continue
    # What root has in its session keyring is not the container's to search.
    sc.new_session_keyring()
    confinement.change_profile()
    if config["no_new_privileges"]:
        sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    if confinement.filter:
        # Needs CAP_SYS_ADMIN unless no_new_privs is set, so it goes before the capabilities do.
        sc.load_seccomp(confinement.filter)
    os.setgroups(config["groups"])
    os.setresgid(config["group"], config["group"], config["group"])
    os.setresuid(config["user"], config["user"], config["user"])
    # Said for every user: a process that enters a user namespace is not its root, and so keeps them when its uid changes.
    try:
        sc.capset(wanted if config["user"] == 0 else 0)
    except PermissionError:
        lacking = sorted(set(config["capabilities"]) - set(capabilities.held()))
        raise OSError(f"the node has no capability {', '.join(lacking)} to give") from None


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
