"""`kctl cordon`: mark nodes as unschedulable."""

from __future__ import annotations

from cli import cordoning


def run(arguments: list[str]) -> int:
    return cordoning.run("cordon", arguments)
