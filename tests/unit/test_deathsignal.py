"""Processes in sessions of their own end with the run of tests that started them, also when it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deathsignal import has_ended
from tests.support.labs import ROOT, eventually

MACHINE = """
import time
from tests.vm.machine import start
print(start(["sleep", "600"]).pid, flush=True)
time.sleep(600)
"""
# An agent stays where it opens its log: nothing reads that.
AGENT = """
import os, sys, time
from tests.support.crashing import Forker, Order
os.mkfifo(sys.argv[1] + "/log")
print(Forker().start(Order(1, "none", "none", sys.argv[1])), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("program", [MACHINE, AGENT], ids=["machine", "agent"])
def test_a_process_ends_with_the_run_that_started_it(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        try:
            assert not has_ended(pid)
            run.kill()
            eventually(lambda: has_ended(pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
