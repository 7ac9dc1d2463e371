"""What this machine's kernel cannot show, on Debian's: cgroup v2 with its controllers, AppArmor, NFS,
WireGuard, an older kernel.

These are the same tests that run here, in a virtual machine (see `machine`).
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm import machine

WITHIN = 2400.0
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(WITHIN + 60),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the virtual machine is an x86-64 one"),
]


@dataclass(frozen=True)
class Case:
    """Arguments of a pytest, and how many tests pass at least."""

    arguments: tuple[str, ...]
    passed: int


CASES = {
    # Without those that no cgroup decides.
    "limits-of-cgroup-v2": Case(
        ("tests/e2e/test_resources.py", "-k", "not exit_with and not resists and not does_not_fit and not a_node_tells"), 8
    ),
    # What the kernel decides; the rest is the agent's own and runs on this machine.
    "resize-on-cgroup-v2": Case(("tests/e2e/test_resize.py", "-k", "process_stays or not_there_is_added"), 2),
    "apparmor": Case(("tests/e2e/test_apparmor.py",), 9),
    # Encrypted labs are slow here: what does not depend on the address family of the underlay is tested over one of the two.
    "nfs-and-wireguard": Case(
        ("tests/e2e/test_nfs.py", "tests/e2e/test_encryption.py", "-k", "nfs or (ipv4 and (readable or leaves or outside_of))"), 5
    ),
    "wireguard-over-ipv6": Case(("tests/e2e/test_encryption.py", "-k", "ipv6 and (readable or full_size or outlasts)"), 3),
    # Of runc one profile: each takes a minute here, and all of them run on this machine's kernel.
    "escapes": Case(
        (
            "tests/robustness/test_escapes.py", "tests/robustness/test_cves.py::test_cve_2016_9962_starting_beside_a_tracer",
            "-k", "not runc or default",
        ),
        8,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[machine.Machines]:
    """One machine for all cases that are to run, in the same order: a boot and the imports of pytest take more than a minute."""
    names = [item.callspec.params["name"] for item in request.session.items if item.path == Path(__file__)]
    cases = {name: ("--timeout=900", "-rs", *CASES[name].arguments) for name in names}
    boot = lambda cases: machine.running(cases, tmp_path_factory.mktemp("machine"))  # noqa: E731
    with contextlib.closing(machine.Machines(cases, boot)) as found:
        yield found


@pytest.mark.parametrize("name", CASES)
def test_on_debian(debian: machine.Machines, name: str) -> None:
    """All of them pass, none is skipped, and there are as many as there should be at least."""
    ran = debian.ran(name, within=WITHIN)
    summary = [line for line in ran.said.splitlines() if " passed" in line or " failed" in line]
    print(*summary, sep=os.linesep)
    assert ran.code == 0, ran.said[-20000:]
    assert "skipped" not in summary[-1], ran.said[-20000:]
    assert int(summary[-1].split(" passed")[0].split()[-1]) >= CASES[name].passed, summary
