"""Every name in a bundle and in a sandbox directory: agent, launcher, monitor and init meet in these files.

    bundle: pods/UID/containers/NAME/NUMBER/        sandbox: pods/UID/sandbox/ (a tmpfs, see `sandbox`)
        config.json    agent: link to the configuration ns/NAME     pinned namespaces
        cancelled      agent: never start it            shm         /dev/shm of the pod
        upper, work    agent: writable layer            wanted      the namespaces that were made
        attach.sock    monitor                          proc        procfs of a shared PID namespace
        state.json     monitor: the process runs        reaper      PID 1 of it, and its start time
        exit.json      monitor: it has ended
        oci/           agent, OCI runtime

A configuration may hold Secrets, so its file is on a tmpfs (runtime/bundles.py). The agent keeps records of its own in a
bundle (pods/checkpoint.py), which nothing here reads.
"""

from __future__ import annotations

import os

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    Path = str | os.PathLike[str]

CONFIG, CANCELLED, STATE, EXIT, ATTACH, OCI = "config.json", "cancelled", "state.json", "exit.json", "attach.sock", "oci"
UPPER, WORK = "upper", "work"
SANDBOX = "sandbox"


def sandbox(pod: Path) -> str:
    """The sandbox directory of a pod, in the pod's own."""
    return f"{os.fspath(pod)}/{SANDBOX}"


def config(bundle: Path) -> str:
    return f"{os.fspath(bundle)}/{CONFIG}"


def cancelled(bundle: Path) -> str:
    return f"{os.fspath(bundle)}/{CANCELLED}"


def state(bundle: Path) -> str:
    return f"{os.fspath(bundle)}/{STATE}"


def exit_record(bundle: Path) -> str:
    return f"{os.fspath(bundle)}/{EXIT}"


def upper(bundle: Path) -> str:
    """The writable layer; overlayfs' upperdir."""
    return f"{os.fspath(bundle)}/{UPPER}"


def work(bundle: Path) -> str:
    """overlayfs' workdir."""
    return f"{os.fspath(bundle)}/{WORK}"


def oci(bundle: Path) -> str:
    """The directory that an OCI runtime takes for its bundle."""
    return f"{os.fspath(bundle)}/{OCI}"


def namespace(sandbox: Path, name: str) -> str:
    """A pinned namespace: net, ipc, uts, pid or user."""
    return f"{os.fspath(sandbox)}/ns/{name}"


def shm(sandbox: Path) -> str:
    return f"{os.fspath(sandbox)}/shm"


def wanted(sandbox: Path) -> str:
    return f"{os.fspath(sandbox)}/wanted"


def proc(sandbox: Path) -> str:
    return f"{os.fspath(sandbox)}/proc"


def reaper(sandbox: Path) -> str:
    return f"{os.fspath(sandbox)}/reaper"
