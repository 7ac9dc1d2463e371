"""The whole suite in less time: groups of tests side by side, each a pytest of its own with its own labs and directories.

Most tests of labs wait, so two cores carry five groups. Labs have a process's number in their names, and tests compare what
belongs to their own lab, so groups do not meet. Usage: `python -m tests.parallel [pytest arguments]`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nodeagent.linux import rmtree

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
# Seconds for all of it.
DEADLINE = 80 * 60


def groups() -> dict[str, list[str]]:
    """Paths by name of group: what needs no lab and then the virtual machine, labs in two halves, real clients and labs that are broken, and
    drills of clusters of control planes, which mostly wait."""
    alone = {"e2e", "robustness", "clients", "drills", "support"}
    quick = sorted(path.name for path in TESTS.iterdir() if path.is_dir() and (path / "__init__.py").exists())
    labs = sorted(path.name for path in (TESTS / "e2e").glob("test_*.py"))
    return {
        "without labs": [f"tests/{name}" for name in quick if name not in alone and name != "vm"] + ["tests/vm"],
        "labs 1": [f"tests/e2e/{name}" for name in labs[::2]],
        "labs 2": [f"tests/e2e/{name}" for name in labs[1::2]],
        "robustness": ["tests/clients", "tests/robustness"],
        "drills": ["tests/drills"],
    }


def start(paths: list[str], arguments: list[str], scratch: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(scratch)}
    # Groups share the machine: what waits for something may take longer than alone.
    environment.setdefault("PINNACE_TEST_PATIENCE", "2")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, *paths]
    with open(log, "wb") as output:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)


def main(arguments: list[str]) -> int:
    """Run all groups, print the output of each when it has ended; 1 when one of them failed."""
    place = Path(tempfile.mkdtemp(prefix="pinnace-tests-"))
    running = {}
    for number, (name, paths) in enumerate(groups().items()):
        scratch = place / str(number)
        scratch.mkdir()
        log = scratch.with_suffix(".log")
        running[name] = (start(paths, arguments, scratch, log), log)
    try:
        return 0 if wait(running) else 1
    finally:
        with contextlib.suppress(OSError):
            # Some tests nest directories deeper than the standard library removes.
            rmtree.remove(place)


def wait(running: dict[str, tuple[subprocess.Popen[bytes], Path]]) -> bool:
    """Until every group has ended; False when one failed or they took too long."""
    began, passed = time.monotonic(), True
    while running and time.monotonic() - began < DEADLINE:
        for name in [name for name, (process, _) in running.items() if process.poll() is not None]:
            process, log = running.pop(name)
            passed = passed and process.returncode == 0
            report(f"{name}: exit code {process.returncode} after {time.monotonic() - began:.0f} s", log.read_bytes())
        time.sleep(0.5)
    for name, (process, log) in running.items():
        process.terminate()
        report(f"{name}: not ended within {DEADLINE} s", log.read_bytes()[-4000:])
    return passed and not running


def report(title: str, output: bytes) -> None:
    print(f"=== {title}", flush=True)
    sys.stdout.buffer.write(output + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
