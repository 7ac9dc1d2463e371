"""Freezing a node: no process of it runs, as in a virtual machine that is paused, until it is thawed.

Containers freeze by their cgroup, all at once, forks included; nothing inside notices. Agent, launcher and monitors are in no
cgroup of the node's: they are stopped by signal, until a scan finds no process that still runs. A stopped process cannot fork,
so none slips through. Where there is no cgroup v2 (Linux 5.2) containers are stopped by signal, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cli.lab import cgroups, processes
from cli.lab.layout import Lab
from pinnace.errors import Timeout

# Seconds for the kernel to stop everything; a process in an uninterruptible wait stops when that ends.
FROZEN_WITHIN = 20.0
# As /proc/PID/stat has them: stopped, stopped by a tracer; and zombies.
_STOPPED = ("T", "t")
_AT_REST = (*_STOPPED, "Z", "X")


def freeze(lab: Lab, node: str) -> None:
    """Raises Timeout, and then the node runs."""
    deadline = time.monotonic() + FROZEN_WITHIN
    freezers = _freezers(lab, node)
    try:
        # The agent first: it is not to see its containers stand still.
        _stop(lambda: _agent_side(lab, node), deadline)
        for path in freezers:
            path.write_text("1")
        if not freezers:
            _stop(lambda: cgroups.pids(lab, node), deadline)
        while not all(_is_frozen(path) for path in freezers):
            if time.monotonic() > deadline:
                raise Timeout(f"the containers of {node} do not freeze within {FROZEN_WITHIN:.0f} s")
            time.sleep(0.01)
    except BaseException:
        thaw_agent(lab, node)
        thaw_containers(lab, node)
        raise


def thaw_agent(lab: Lab, node: str) -> None:
    """Let agent, launcher and monitors run, and the containers not yet."""
    _continue(_agent_side(lab, node))


def thaw_containers(lab: Lab, node: str) -> None:
    freezers = _freezers(lab, node)
    for path in freezers:
        with contextlib.suppress(OSError):
            path.write_text("0")
    if not freezers:
        _continue(cgroups.pids(lab, node))


def _freezers(lab: Lab, node: str) -> list[Path]:
    """In the hierarchy of cgroup v2, wherever that is mounted. A pod may make the first cgroup of a node at any time."""
    return [path for folder in cgroups.folders(lab, [node]) if (path := folder / "cgroup.freeze").exists()]


def _is_frozen(freezer: Path) -> bool:
    """Also a cgroup that was removed meanwhile."""
    try:
        return "frozen 1" in freezer.with_name("cgroup.events").read_text().splitlines()
    except OSError:
        return True


def _agent_side(lab: Lab, node: str) -> list[int]:
    """The processes of a node outside of its containers, and all that they have started."""
    parents = _parents()
    roots, contained = set(processes.of_host(lab, node)), set(cgroups.pids(lab, node))
    return sorted(pid for pid in parents if pid not in contained and _descends(pid, roots, parents))


def _descends(pid: int, roots: set[int], parents: dict[int, int]) -> bool:
    for _ in range(len(parents)):
        if pid in roots:
            return True
        pid = parents.get(pid, 0)
        if pid <= 1:
            break
    return False


def _parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
                found[int(entry.name)] = int(fields[1])
    return found


def _stop(find: Callable[[], list[int]], deadline: float) -> None:
    """Stop all that `find` finds, also what they started before they stopped. Raises Timeout."""
    while running := [pid for pid in find() if processes.state(pid) not in _AT_REST]:
        if time.monotonic() > deadline:
            raise Timeout(f"processes do not stop within {FROZEN_WITHIN:.0f} s: {running}")
        _signal(running, signal.SIGSTOP)
        time.sleep(0.005)


def _continue(pids: Iterable[int]) -> None:
    _signal((pid for pid in pids if processes.state(pid) in _STOPPED), signal.SIGCONT)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
