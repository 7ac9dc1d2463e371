"""`kctl uncordon`: mark nodes as schedulable."""

from __future__ import annotations

from cli import cordoning


def run(arguments: list[str]) -> int:
    return cordoning.run("uncordon", arguments)
