"""What the commands of labs share: the flag --name, progress and warnings, and one kctl at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.lab import layout, naming
from cli.lab.layout import Lab
from cli.progress import Progress, Say


def add_name(parser: Any) -> None:
    parser.add_argument("--name", default="", help="name of the lab (default: the current context's, or the only one)")


@contextmanager
def progress() -> Iterator[Say]:
    shown = Progress()
    try:
        yield shown.show
    finally:
        shown.clear()


def warn(warnings: list[str]) -> None:
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)


@contextmanager
def exclusive(args: Any) -> Iterator[Lab]:
    """The chosen lab, which no other kctl changes meanwhile."""
    # Loaded before too: what does not exist leaves no lock.
    name = layout.load(naming.chosen(args)).name
    with layout.exclusive(name):
        yield layout.load(name)
