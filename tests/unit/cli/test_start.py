"""kctl is fast to start: a command imports what it needs, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.imports import imported_by
from tests.support.labs import PATIENCE

COMMAND = "from cli.main import run; run(sys.argv[1:])"
# Each command in a fork that has imported no other.
EACH = """
import importlib, os, pkgutil
import cli.commands, cli.main
for command in pkgutil.iter_modules(cli.commands.__path__):
    if os.fork() == 0:
        importlib.import_module(f"cli.commands.{command.name}")
        os._exit(0)
    if os.wait()[1]:
        print(command.name, flush=True)
"""


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["version", "--client"], ["grpc", "google.protobuf", "pinnace.kinds", "cli.contexts", "dataclasses", "shutil", "ssl"]),
        (["run", "x", "--image=i", "--dry-run=client", "-o", "name"], ["grpc", "cli.joining", "cli.contexts", "ssl"]),
        (["create", "sa", "x", "--dry-run=client", "-o", "name"], ["grpc", "asyncio", "cli.contexts", "ssl"]),
        (["create", "-f", "/dev/null", "--dry-run=client"], ["grpc", "cli.creating", "ssl"]),
        # As `lab up`, which has the processes of the lab started before it needs messages itself.
        (["lab", "list"], ["grpc", "google.protobuf", "pinnace.kinds", "cryptography", "asyncio"]),
    ],
)
def test_a_command_imports_what_it_needs(words: list[str], absent: list[str]) -> None:
    """gRPC and the messages take ten times as long as all else."""
    imported = imported_by(COMMAND, *words)
    assert "cli.flags" in imported
    assert imported & set(absent) == set()


def test_no_command_needs_the_imports_of_another() -> None:
    """Most tests run kctl in forks of a process that has imported all commands."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", EACH], capture_output=True, text=True, timeout=300 * PATIENCE, check=True
    )
    assert done.stdout == "", done.stderr
