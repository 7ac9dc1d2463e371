"""A pod's shared namespaces, pinned by bind mounts so that they need no process to live.

Where a user or pid namespace is among them, a child makes them while this process, which stays on the host's side, writes
the id maps and pins what it made. The user namespace comes first: namespaces belong to the one in which they were made, and
root in there may configure them.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct

from nodeagent.launcher import bundle as bundles
from nodeagent.launcher import confinement, init, reaper
from nodeagent.linux import syscalls as sc
from nodeagent.linux import terminals

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nodeagent.launcher.protocol import Ids, Sandbox

_FLAGS = {"net": sc.CLONE_NEWNET, "ipc": sc.CLONE_NEWIPC, "uts": sc.CLONE_NEWUTS}
_PINS = ("net", "ipc", "uts", "pid", "user")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
# Milliseconds that the kernel has to end the processes of a pid namespace.
_REAPER_ENDS = 5000


def create(request: Sandbox) -> None:
    """Make what is missing of a SandboxConfig's sandbox. Raises OSError; then it can be asked again."""
    folder, ids = request["folder"], request["ids"]
    # Pins last as long as the machine is up, and so may their files. And one unmount removes it all.
    if not os.path.ismount(folder):
        flags = sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
        sc.mount("sandbox", folder, "tmpfs", flags, "mode=700,size=64k")
    os.makedirs(f"{folder}/ns", 0o700, exist_ok=True)
    os.makedirs(bundles.shm(folder), 0o700, exist_ok=True)
    if not os.path.ismount(bundles.shm(folder)):
        owner = f",uid={ids['first']},gid={ids['first']}" if ids else ""
        flags = sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
        sc.mount("shm", bundles.shm(folder), "tmpfs", flags, "mode=1777,size=64m" + owner)
    wanted = _wanted(request)
    if ids and not _pinned(folder, "user"):
        # What another user namespace owns is of no use in a new one.
        _unpin(folder)
    if "pid" in wanted and not reaper.alive(folder):
        _unpin(folder, "pid")
    missing = [name for name in wanted if not _pinned(folder, name)]
    if missing:
        (_make if ids or "pid" in missing else _make_here)(folder, missing, request)
    with open(bundles.wanted(folder), "w") as file:
        json.dump(wanted, file)


class Home:
    """The namespaces that this process is in, to come back to from those that `create` leaves it in. Raises OSError."""

    def __init__(self) -> None:
        self._fds = [(os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), flag) for name, flag in _FLAGS.items()]

    def go_back(self) -> None:
        for fd, flag in self._fds:
            sc.setns(fd, flag)


def _wanted(request: Sandbox) -> list[str]:
    names = [] if request["host_network"] else ["net", "uts"]
    names += [] if request["host_ipc"] else ["ipc"]
    return names + ["pid"] * request["shared_pid"] + ["user"] * bool(request["ids"])


def whole(folder: str) -> bool:
    """Whether nothing of a sandbox that was made is missing, as after a reboot; agents ask when they start."""
    try:
        with open(bundles.wanted(folder)) as file:
            wanted = json.load(file)
    except (FileNotFoundError, ValueError):
        return False
    pinned = all(_pinned(folder, name) for name in wanted)
    if "pid" in wanted:
        pinned = pinned and os.path.ismount(bundles.proc(folder)) and reaper.alive(folder)
    return pinned and os.path.ismount(bundles.shm(folder))


def _pinned(folder: str, name: str) -> bool:
    """Whether an nsfs file is mounted there."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(bundles.namespace(folder, name)).st_dev != os.stat(f"{folder}/ns").st_dev
    return False


def _make_here(folder: str, missing: list[str], request: Sandbox) -> None:
    """Without a user or pid namespace no second process is needed: this one goes in, and pins its own."""
    _unshare(missing, request)
    for name in missing:
        _pin(folder, name, f"/proc/self/ns/{name}")


def _make(folder: str, missing: list[str], request: Sandbox) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # A reaper is counted with its pod: it is forked by a process in its cgroups, which no user namespace lets one enter.
    cgroups = request["cgroups"] if "pid" in missing else []
    cgroup = init.unified(cgroups)
    pid = sc.fork(0, cgroup)
    if pid == 0:
        try:
            ours.close()
            init.join_cgroups(cgroups)
            _namespaces(theirs, folder, missing, request)
        except BaseException as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            theirs.send(json.dumps({"error": text or type(error).__name__}).encode())
        finally:
            os._exit(0)
    theirs.close()
    if cgroup >= 0:
        os.close(cgroup)
    try:
        if "user" in missing and request["ids"] is not None:
            _understood(ours.recv(4096))
            _map_ids(pid, request["ids"])
            _pin(folder, "user", f"/proc/{pid}/ns/user")
            ours.send(b"mapped")
        data, descriptors = terminals.receive(ours, 4096)
        answer = _understood(data)
        if "reaper" in answer:
            reaper.note(folder, answer["reaper"])
            _pin_proc(folder, descriptors[0])
        for name in missing:
            if name != "user":
                _pin(folder, name, f"/proc/{answer['reaper'] if name == 'pid' else pid}/ns/{name}")
    finally:
        # Closed: the child waits for it, so that its namespaces can be found through it until they are pinned.
        ours.close()
        os.waitpid(pid, 0)


def _understood(data: bytes) -> dict[str, Any]:
    """Raises OSError with what the other side says went wrong."""
    answer: dict[str, Any] = json.loads(data) if data else {"error": "the process that makes the namespaces was killed"}
    if "error" in answer:
        raise OSError(answer["error"])
    return answer


def _map_ids(pid: int, ids: Ids) -> None:
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(f"0 {ids['first']} {ids['size']}\n")


def _pin(folder: str, name: str, source: str) -> None:
    path = bundles.namespace(folder, name)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    sc.mount(source, path, "", sc.MS_BIND)


def _pin_proc(folder: str, context: int) -> None:
    """procfs of the pod's pid namespace, for its containers to have copies of (see `entering`)."""
    sc.fsconfig_create(context)
    mount = sc.fsmount(context, sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_NOEXEC)
    os.makedirs(bundles.proc(folder), 0o700, exist_ok=True)
    target = os.open(bundles.proc(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    sc.move_mount(mount, target)
    for fd in (context, mount, target):
        os.close(fd)


def _namespaces(theirs: socket.socket, folder: str, missing: list[str], request: Sandbox) -> None:
    """The child's part: make them and set them up, from inside. Says so, and waits until they are pinned."""
    if "user" in missing:
        sc.unshare(sc.CLONE_NEWUSER)
        theirs.send(b"{}")
        if not theirs.recv(64):
            return
    elif request["ids"]:
        fd = os.open(bundles.namespace(folder, "user"), os.O_RDONLY | os.O_CLOEXEC)
        sc.setns(fd, sc.CLONE_NEWUSER)
        os.close(fd)
    if request["ids"]:
        confinement.become_root()
    _unshare(missing, request)
    if "pid" in missing:
        started, context = reaper.start()
        terminals.send(theirs.fileno(), json.dumps({"reaper": started}).encode(), context)
    else:
        theirs.send(b"{}")
    theirs.recv(64)


def _unshare(missing: list[str], request: Sandbox) -> None:
    """Go into new namespaces, and set them up from inside."""
    sc.unshare(sum(_FLAGS[name] for name in missing if name in _FLAGS))
    if "uts" in missing:
        sc.sethostname(request["hostname"])
    if "net" in missing:
        _loopback_up()
    if request["sysctls"]:
        _write_sysctls(request["sysctls"], missing)


def _write_sysctls(sysctls: list[list[str]], missing: list[str]) -> None:
    """Kernel parameters of the namespaces that this process is in, through a procfs that is one (CVE-2025-52881)."""
    procfs = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not sc.is_procfs(procfs):
        raise OSError("/proc of the host is not procfs")
    resolve = sc.RESOLVE_BENEATH | sc.RESOLVE_NO_SYMLINKS | sc.RESOLVE_NO_XDEV
    for name, value in sysctls:
        if ("net" if name.startswith("net.") else "ipc") not in missing:
            continue
        try:
            fd = sc.openat2(procfs, "sys/" + name.replace(".", "/"), os.O_WRONLY, resolve=resolve)
            os.write(fd, value.encode())
            os.close(fd)
        except OSError as error:
            raise OSError(f"sysctl {name}={value}: {os.strerror(error.errno) if error.errno else error}") from None
    os.close(procfs)


def has_process(folder: str) -> bool:
    """Whether a reaper was started for it, whose end `remove` would wait for."""
    return os.path.exists(bundles.reaper(folder))


def remove(folder: str) -> None:
    """End the reaper, and with it all processes of a shared pid namespace; unpin everything. Raises OSError."""
    pidfd = reaper.open_process(folder)
    if pidfd is not None:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_REAPER_ENDS):
            raise OSError("processes of the pod's pid namespace do not end")
        os.close(pidfd)
    _unmount(folder)


def _unpin(folder: str, *names: str) -> None:
    if "pid" in (names or _PINS):
        _unmount(bundles.proc(folder))
    for name in names or _PINS:
        _unmount(bundles.namespace(folder, name))
        with contextlib.suppress(OSError):
            os.unlink(bundles.namespace(folder, name))


def _unmount(path: str) -> None:
    for _ in range(8):
        try:
            sc.umount(path, sc.MNT_DETACH)
        except OSError:
            break


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = array.array("b", struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(sock, _SIOCGIFFLAGS, request)
        flags = struct.unpack_from("16sH", request)[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
