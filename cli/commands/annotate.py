"""`kctl annotate`: set and remove annotations of objects."""

from __future__ import annotations

from cli import keyvalues

ANNOTATE = keyvalues.Command(name="annotate", noun="annotation", field="annotations", done="annotated")


def run(arguments: list[str]) -> int:
    return keyvalues.run(ANNOTATE, arguments)
