"""What this machine's kernel cannot show, on Debian's: cgroup v2 with its controllers, AppArmor, NFS,
WireGuard, an older kernel.

These are the same tests that run here, in a virtual machine (see `machine`).
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from tests.vm import machine

WITHIN = 2400.0
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(WITHIN + 60),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the virtual machine is an x86-64 one"),
]


@pytest.mark.parametrize(
    ("subject", "passed"),
    [
        # Without those that no cgroup decides.
        pytest.param(
            ("tests/e2e/test_resources.py", "-k", "not exit_with and not resists and not does_not_fit and not a_node_tells"), 8,
            id="limits-of-cgroup-v2",
        ),
        # What the kernel decides; the rest is the agent's own and runs on this machine.
        pytest.param(
            ("tests/e2e/test_resize.py", "-k", "process_stays or not_there_is_added"), 2, id="resize-on-cgroup-v2",
        ),
        pytest.param(("tests/e2e/test_apparmor.py",), 9, id="apparmor"),
        # Encrypted labs are slow here: what does not depend on the address family of the underlay is tested over one of the two.
        pytest.param(
            ("tests/e2e/test_nfs.py", "tests/e2e/test_encryption.py", "-k",
             "nfs or (ipv4 and (readable or leaves or outside_of))"), 5, id="nfs-and-wireguard",
        ),
        pytest.param(
            ("tests/e2e/test_encryption.py", "-k", "ipv6 and (readable or full_size or outlasts)"), 3, id="wireguard-over-ipv6",
        ),
        # Of runc one profile: each takes a minute here, and all of them run on this machine's kernel.
        pytest.param(
            ("tests/robustness/test_escapes.py", "tests/robustness/test_cves.py::test_cve_2016_9962_starting_beside_a_tracer",
             "-k", "not runc or default"), 8, id="escapes",
        ),
    ],
)  # fmt: skip
def test_on_debian(subject: tuple[str, ...], passed: int, tmp_path: Path) -> None:
    """All of them pass, none is skipped, and there are as many as there should be at least."""
    ran = machine.pytest_run(tmp_path, "--timeout=900", "-rs", *subject, within=WITHIN)
    summary = [line for line in ran.said.splitlines() if " passed" in line or " failed" in line]
    print(*summary, sep=os.linesep)
    assert ran.code == 0, ran.said[-20000:]
    assert "skipped" not in summary[-1], ran.said[-20000:]
    assert int(summary[-1].split(" passed")[0].split()[-1]) >= passed, summary
