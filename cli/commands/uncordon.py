"""`kctl uncordon`: let nodes take new pods again."""

from __future__ import annotations

from cli import cordoning


def run(arguments: list[str]) -> int:
    return cordoning.run("uncordon", arguments)
