"""The guard against processes that outlive a run of tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.labs import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A run of one test, which starts a process that outlives it."""
    conftest = (ROOT / "tests/conftest.py").read_text()
    assert "\nGRACE = 20.0\n" in conftest
    (tmp_path / "conftest.py").write_text(conftest.replace("\nGRACE = 20.0\n", "\nGRACE = 2.0\n"))
    pids = tmp_path / "pid"
    body = f"import subprocess\ndef test_it():\n    p = subprocess.Popen({command!r}.split())\n"
    (tmp_path / "test_it.py").write_text(f"{body}    open({str(pids)!r}, 'w').write(str(p.pid))\n")
    words = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(words, capture_output=True, text=True, timeout=60 * PATIENCE, cwd=tmp_path, env=environment)
    try:
        os.kill(int(pids.read_text()), signal.SIGKILL)
    except ProcessLookupError:
        pass
    return result


def test_a_process_that_is_left_fails_the_run_by_name(tmp_path: Path) -> None:
    """Although every test passed."""
    result = run(tmp_path, "sleep 61")
    assert result.returncode == 1
    assert "1 passed" in result.stdout
    assert "sleep 61" in result.stdout.partition("processes that this run started and left")[2]


def test_a_run_whose_processes_have_ended_passes(tmp_path: Path) -> None:
    """Also when they end a moment after the last test."""
    result = run(tmp_path, "sleep 0.2")
    assert result.returncode == 0, result.stdout
