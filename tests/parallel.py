"""The whole suite in less time: groups of tests side by side, each a pytest of its own with its own labs and directories.

Most tests of labs wait, so two cores carry five groups. Labs have a process's number in their names, and tests compare what belongs
to their own lab, so groups do not meet. Usage: `python -m tests.parallel [pytest arguments]`.

Tests here start hundreds of processes on a loaded machine. What failed runs again when all groups have ended, alone: a test that
then passes is reported by name as flaky, and a run has few of them or it has failed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.linux import rmtree
from tests.conftest import FAILED

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
# Seconds for all of it.
DEADLINE = 80 * 60
# Seconds for tests that run again, and how many may.
AGAIN_WITHIN = 15 * 60
MAX_FLAKY = 5
# Groups at a time.
AT_ONCE = 5
# How many times as long as alone a test may take while others run (tests.support.labs.PATIENCE), and its seconds then, unless it has its own.
PATIENCE = 2
TEST_WITHIN = 180 * PATIENCE
# The longest but for the virtual machine decides when the suite ends: labs are as many groups as start together with others.
LAB_GROUPS = 3
# The larger half of the unit tests.
NODE = "nodeagent"


def groups() -> dict[str, list[str]]:
    """Paths by name of group, in the order in which they start: the virtual machine, which takes longest and one processor at most, labs in
    three parts, which mostly wait, real clients, and labs that are broken; then what needs no lab and computes, in parts, so that no core is
    idle at the end, with drills of clusters of control planes between, which wait too."""
    alone = {"e2e", "robustness", "clients", "drills", "support", "unit", "vm"}
    quick = sorted(path.name for path in TESTS.iterdir() if path.is_dir() and (path / "__init__.py").exists())
    labs = sorted(path.name for path in (TESTS / "e2e").glob("test_*.py"))
    unit = sorted(
        f"tests/unit/{path.name}" for path in (TESTS / "unit").iterdir() if path.name[:2] != "__" and path.name != NODE
    )
    return {
        "virtual machine": ["tests/vm"],
        **{f"labs {part + 1}": [f"tests/e2e/{name}" for name in labs[part::LAB_GROUPS]] for part in range(LAB_GROUPS)},
        "clients": ["tests/clients"],
        "robustness": ["tests/robustness"],
        "unit, node": [f"tests/unit/{NODE}"],
        "drills": ["tests/drills"],
        "unit": unit,
        "without labs": [f"tests/{name}" for name in quick if name not in alone],
    }


@dataclass(frozen=True)
class Group:
    """A pytest that runs. `failed` is the file in which it lists tests that failed."""

    process: subprocess.Popen[bytes]
    log: Path
    failed: Path


def start(paths: list[str], arguments: list[str], scratch: Path) -> Group:
    """`scratch` is for its temporary directories; its output and its failures are written beside."""
    scratch.mkdir()
    group_files = scratch.with_suffix(".log"), scratch.with_suffix(".failed")
    environment = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(scratch), FAILED: str(group_files[1])}
    environment.setdefault("PINNACE_TEST_PATIENCE", str(PATIENCE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_WITHIN}", *arguments, *paths]
    with open(group_files[0], "wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    return Group(process, *group_files)


def main(arguments: list[str]) -> int:
    """Run all groups, print the output of each when it has ended; 1 when one of them failed."""
    place = Path(tempfile.mkdtemp(prefix="pinnace-tests-"))

    def starter(number: int, paths: list[str]) -> Callable[[], Group]:
        return lambda: start(paths, arguments, place / str(number))

    try:
        failed = run({name: starter(number, paths) for number, (name, paths) in enumerate(groups().items())}, DEADLINE)
        return 0 if failed is not None and passes_alone(failed, arguments, place / "again") else 1
    finally:
        with contextlib.suppress(OSError):
            # Some tests nest directories deeper than the standard library removes.
            rmtree.remove(place)


def run(groups: dict[str, Callable[[], Group]], deadline: float) -> list[str] | None:
    """Until every group has ended: the tests that failed; None when a group failed otherwise or took too long."""
    began, failed, broken = time.monotonic(), list[str](), False
    waiting, running = list(groups.items()), dict[str, Group]()
    while (waiting or running) and time.monotonic() - began < deadline:
        while waiting and len(running) < AT_ONCE:
            name, begin = waiting.pop(0)
            running[name] = begin()
        for name in [name for name, group in running.items() if group.process.poll() is not None]:
            group = running.pop(name)
            code = group.process.returncode
            found = group.failed.read_text().splitlines() if code == 1 and group.failed.exists() else []
            failed += found
            broken = broken or (code != 0 and not found)
            report(f"{name}: exit code {code} after {time.monotonic() - began:.0f} s", group.log.read_bytes())
        time.sleep(0.5)
    for name, group in running.items():
        group.process.terminate()
        report(f"{name}: not ended within {deadline} s", group.log.read_bytes()[-4000:])
    return None if broken or running or waiting else failed


def passes_alone(failed: list[str], arguments: list[str], scratch: Path) -> bool:
    """Whether a few failures do not repeat without other groups beside them."""
    if not failed:
        return True
    if len(failed) > MAX_FLAKY:
        print(f"=== {len(failed)} tests failed; they do not run again", flush=True)
        return False
    again = run({"again, alone": lambda: start(failed, arguments, scratch)}, AGAIN_WITHIN)
    for name in failed:
        print(f"=== {'flaky, passed alone' if again == [] else 'failed'}: {name}", flush=True)
    return again == []


def report(title: str, output: bytes) -> None:
    print(f"=== {title}", flush=True)
    sys.stdout.buffer.write(output + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
