"""A program on client-go and controller-runtime against a lab: typed clients in protobuf, informers, leases, apply, a controller.

The program is tests/clients/go. Where there is no Go, no module proxy or no time to compile it, the tests are skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.catalogue import GO
from tests.support import downloads
from tests.support.labs import DEADLINE, LabUnderTest

# Seconds for modules, and for the first build: both are half a million lines.
DOWNLOAD, BUILD = 180, 900
pytestmark = [pytest.mark.root, pytest.mark.timeout(DOWNLOAD + BUILD + 300)]

SOURCE = Path(__file__).parent / "go"


@pytest.fixture(scope="module")
def program() -> Path:
    """The program, built; kept in the checkout until its source changes."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    downloads.PLACE.mkdir(exist_ok=True)
    with open(downloads.PLACE / "go.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
        try:
            subprocess.run(
                [go, "mod", "download"], cwd=SOURCE, env=environment, check=True, capture_output=True, timeout=DOWNLOAD
            )
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"modules cannot be downloaded: {getattr(error, 'stderr', b'')[-200:]!r}")
        found = downloads.PLACE / "go-clients"
        # Behind the tests that run at the same time, and without debug information.
        command = ["nice", go, "build", "-ldflags=-s -w", "-o", str(found), "."]
        try:
            done = subprocess.run(
                command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=BUILD, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip(
                f"client-go and controller-runtime were not compiled within {BUILD} s; what was is kept for the next run"
            )
        assert done.returncode == 0, done.stderr
    return found


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=f"{client.name}-{check}") for client in GO for check in client.checks]
)
def test_a_program_works(lab: LabUnderTest, program: Path, check: str) -> None:
    lab.kctl("create", "namespace", f"go-{check}")
    done = subprocess.run([program, check], env=lab.environment, text=True, capture_output=True, timeout=DEADLINE, check=False)
    lab.kctl("delete", "namespace", f"go-{check}", "--wait=false")
    assert (done.returncode, done.stdout) == (0, f"{check} done\n"), done.stderr
