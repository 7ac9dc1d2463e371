"""PID 1 of a PID namespace that the containers of a pod share. It reaps orphans, and its end is theirs.

No parent's death ends it, for its parent is the launcher, which may be restarted. The containers see it, some of them as
root, so it has nothing that they could take: an empty root, no capabilities, a user that is not theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket

from nodeagent.launcher import bundle as bundles
from nodeagent.launcher import confinement, rootfs
from nodeagent.linux import capabilities, procfs, terminals
from nodeagent.linux import syscalls as sc

_NAME = b"pause"
_NOBODY = 65534


def start() -> tuple[int, int]:
    """Fork it into a new pid namespace. Returns, once it is ready, its pid and a descriptor of a procfs that is still to be
    made and shows this namespace: opened while nobody is in there who could have another one opened. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = sc.fork(sc.CLONE_NEWPID)
    if pid == 0:
        try:
            ours.close()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            _live(theirs)
        finally:
            os._exit(1)
    theirs.close()
    with ours:
        descriptors = terminals.receive(ours)[1]
    if not descriptors:
        raise OSError("PID 1 of the pod's PID namespace did not start")
    return pid, descriptors[0]


def _live(parent: socket.socket) -> None:
    sc.prctl(sc.PR_SET_DUMPABLE, 0)
    os.setsid()
    sc.unshare(sc.CLONE_NEWNS)
    context = sc.fsopen("proc")
    _close_in({parent.fileno(), context})
    terminals.send(parent.fileno(), b"ready", context)
    os.close(context)
    parent.close()
    _reap()


def _close_in(keep: set[int]) -> None:
    """Give up everything but `keep`: the host's files, descriptors, command line and powers."""
    _rename()
    rootfs.empty()
    confinement.close_but(keep)
    for number in range(len(capabilities.NAMES)):
        with contextlib.suppress(OSError):
            sc.prctl(sc.PR_CAPBSET_DROP, number)
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    sc.capset(0)
    sc.prctl(sc.PR_SET_DUMPABLE, 0)


def _rename() -> None:
    """Its command line is the launcher's, with a path of the host, and containers can read it: it is overwritten."""
    sc.set_name(_NAME)
    with open("/proc/thread-self/stat", "rb") as file:
        # arg_start and arg_end, fields 48 and 49 of proc_pid_stat(5).
        start, end = (int(word) for word in file.read().rpartition(b")")[2].split()[45:47])
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, _NAME, len(_NAME))


def _reap() -> None:
    """For good. Signals that it has no handler for do not reach PID 1 from its own namespace."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    while True:
        signal.sigwait({signal.SIGCHLD})
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def note(folder: str, pid: int) -> None:
    """From the host's side: remember which process it is."""
    with open(bundles.reaper(folder), "w") as record:
        record.write(f"{pid} {procfs.start_time(pid)}")


def alive(folder: str) -> bool:
    pidfd = open_process(folder)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


def open_process(folder: str) -> int | None:
    """A pidfd of the reaper of a sandbox; None when there is none, or no longer."""
    try:
        with open(bundles.reaper(folder)) as file:
            pid, started = (int(word) for word in file.read().split())
        pidfd = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    # A zombie is no PID 1.
    if procfs.runs(pid, started):
        return pidfd
    os.close(pidfd)
    return None
