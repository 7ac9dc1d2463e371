"""The faults in a lab's record, and the processes that are to revert them."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from cli.lab import processes
from cli.lab.layout import Fault, Lab, Process

STOP, FREEZE, CUT, FILL = "stop", "freeze", "cut", "fill"
# Seconds for a killed process to be gone.
ENDED_WITHIN = 5.0


def of(lab: Lab, kind: str, hosts: tuple[str, ...]) -> Fault | None:
    """The fault of this kind; the two ends of a cut are in any order."""
    return next((fault for fault in lab.faults if fault.kind == kind and set(fault.hosts) == set(hosts)), None)


def cut_off(lab: Lab) -> set[str]:
    """Hosts that are cut off from everything else."""
    return {fault.hosts[0] for fault in lab.faults if fault.kind == CUT and len(fault.hosts) == 1}


def overdue(lab: Lab) -> list[Fault]:
    """Faults whose time is over and whose watchdog has died before."""
    now = time.time()
    return [fault for fault in lab.faults if fault.until and fault.until < now and not processes.alive(fault.watchdog)]


def drop(lab: Lab, fault: Fault) -> None:
    """The fault is over: remove it from the record, and end its watchdog."""
    lab.faults = [item for item in lab.faults if item != fault]
    lab.save()
    _end(fault.watchdog)


def end_watchdogs(lab: Lab) -> None:
    for fault in lab.faults:
        _end(fault.watchdog)


def _end(watchdog: Process | None) -> None:
    if watchdog is None or watchdog.pid == os.getpid():
        return
    deadline = time.monotonic() + ENDED_WITHIN
    while processes.alive(watchdog) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(watchdog.pid, signal.SIGKILL)
        time.sleep(0.01)
