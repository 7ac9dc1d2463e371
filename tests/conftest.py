"""What holds for a whole run: Ctrl-C reaches what it starts, and no process that it started is left when it ends."""

from __future__ import annotations

import gc
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import warmkctl

# In the environment of every process that this run starts; containers do not inherit it, their monitors do.
MARK = "PINNACE_TEST_RUN"
# In the environment: the file to list failed tests in, a line each; not written when processes are left.
FAILED = "PINNACE_TEST_FAILED"
# Seconds that the last processes have to end; an unpacker ends 10 s after its last layer.
GRACE = 20.0


_failed: dict[str, None] = {}


# An example takes as long as the machine is busy. Under CI each run tries the same ones, as in Hypothesis' own profile for it.
settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_configure() -> None:
    os.environ[MARK] = str(os.getpid())
    # A shell makes its background commands ignore SIGINT, and all that they start with them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _failed[report.nodeid] = None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run, naming the processes that are left."""
    # What a test left in a cycle, or has frozen, may hold the connection that keeps a process.
    gc.unfreeze()
    gc.collect()
    warmkctl.warm.close()
    deadline = time.monotonic() + GRACE
    while (left := started_here()) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        listed = "\n".join(f"  {pid}: {command}" for pid, command in sorted(left.items()))
        print(f"\nprocesses that this run started and left:\n{listed}", flush=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif FAILED in os.environ:
        Path(os.environ[FAILED]).write_text("".join(f"{name}\n" for name in _failed))


def started_here() -> dict[int, str]:
    """Command lines by pid, with the test that was running. Zombies have none and are not counted."""
    mark, found = f"{MARK}={os.getpid()}".encode(), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            if mark in environment:
                test = next((line for line in environment if line.startswith(b"PYTEST_CURRENT_TEST=")), b"")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = (command + test).decode(errors="replace")
        except OSError:
            # It has ended, or is a kernel thread.
            continue
    return found
