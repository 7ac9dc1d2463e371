"""kctl is fast to start: a command imports what it needs, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from cli.main import run
run(sys.argv[1:])
print(*sys.modules, sep="\\n", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["version", "--client"], ["grpc", "google.protobuf", "pinnace.kinds", "cli.contexts", "dataclasses", "shutil", "ssl"]),
        (["run", "x", "--image=i", "--dry-run=client", "-o", "name"], ["grpc", "cli.joining", "cli.contexts", "ssl"]),
    ],
)
def test_a_command_imports_what_it_needs(words: list[str], absent: list[str]) -> None:
    """gRPC and the messages take ten times as long as all else. Without site, whose hooks import some of the others."""
    path = [item for item in sys.path if item]
    script = f"import sys; sys.path[:0] = {path!r}\n{SCRIPT}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, *words], capture_output=True, text=True, timeout=60, check=True
    )
    imported = set(done.stderr.split())
    assert "cli.flags" in imported
    assert imported & set(absent) == set()
