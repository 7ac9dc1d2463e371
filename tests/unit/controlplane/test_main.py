"""The process of the control plane: what it says when it cannot start."""

from __future__ import annotations

import socket
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


def test_a_start_that_fails_late_ends_in_order(tmp_path: Path) -> None:
    """The gRPC port is open by then, and this control plane may lead: it steps down, so that another one need not wait."""
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        command = [sys.executable, "-m", "controlplane", "--state-dir", str(tmp_path / "state"), "--store", "memory"]
        command += ["--listen", "127.0.0.1:0", "--web", f"127.0.0.1:{used.getsockname()[1]}", "--advertise", "127.0.0.1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    logged = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert (done.returncode, len(logged)) == (1, 1), done.stderr
    assert logged[0].startswith("pinnace-controlplane: [Errno 98]")
