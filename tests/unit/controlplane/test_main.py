"""The process of the control plane: what it says when it cannot start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("flag", "error"),
    [
        (
            "--load-balancer-pool=10.244.3.7",
            "--load-balancer-pool 10.244.3.7 overlaps with the cluster's pod CIDR 10.244.0.0/14",
        ),
        (
            "--node-cidr-mask-size-ipv6=64",
            "--node-cidr-mask-size-ipv6 needs an IPv6 range, and the cluster's pod CIDR is 10.244.0.0/14: set --cluster-cidr",
        ),
    ],
)
def test_flags_that_do_not_fit_the_cluster_are_named(flag: str, error: str, tmp_path: Path) -> None:
    """Which the command line alone does not show; the error is one of a task of a task."""
    command = [sys.executable, "-m", "controlplane", "--state-dir", str(tmp_path / "state"), "--store", "memory", flag]
    command += ["--listen", "", "--web", "", "--socket", str(tmp_path / "sock"), "--log-level", "ERROR"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, f"pinnace-controlplane: {error}\n")
