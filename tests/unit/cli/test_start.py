"""kctl is fast to start: a command imports what it needs, and no more."""

from __future__ import annotations

import pytest

from tests.support.imports import imported_by

COMMAND = "from cli.main import run; run(sys.argv[1:])"


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
