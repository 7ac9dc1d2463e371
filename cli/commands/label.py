"""`kctl label`: set and remove labels of objects."""

from __future__ import annotations

from cli import keyvalues

LABEL = keyvalues.Command(name="label", noun="label", field="labels", done="labeled")


def run(arguments: list[str]) -> int:
    return keyvalues.run(LABEL, arguments)
