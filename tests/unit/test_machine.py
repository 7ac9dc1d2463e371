"""Virtual machines of tests (tests/vm/machine.py), with shells in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.labs import PATIENCE
from tests.vm.machine import Machine, Machines, start

WITHIN = 10.0 * PATIENCE
CASES = {"first": ("exit 0",), "panics": ("kill -9 $$",), "fails": ("exit 1",), "last": ("exit 0",)}


def test_a_case_that_ends_the_machine_fails_alone(tmp_path: Path) -> None:
    """Those before it ran, and those after it have another machine."""
    booted: list[list[str]] = []

    @contextlib.contextmanager
    def boot(cases: dict[str, tuple[str, ...]]) -> Iterator[Machine]:
        console = tmp_path / f"console-{len(booted)}"
        console.touch()
        booted.append(list(cases))
        runs = [f"echo machine: {name} begins; ({command}); echo machine: {name} exit $?" for name, (command,) in cases.items()]
        machine = Machine(start(["sh", "-c", f"exec >{console}; {'; '.join(runs)}"]), console)
        try:
            yield machine
        finally:
            machine.off()

    with contextlib.closing(Machines(dict(CASES), boot)) as machines:
        codes = [machines.ran(name, WITHIN).code for name in CASES]
    assert codes == [0, -1, 1, 0]
    assert booted == [["first", "panics", "fails", "last"], ["fails", "last"]]
