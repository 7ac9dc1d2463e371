"""Which thread opens which file: for tests of work that is to stay off the event loop (PEP 578)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path


@dataclass
class Opens:
    """Names of files and directories below `directory` that were opened, by whether the loop's thread did it."""

    directory: str
    loop: int
    on_loop: set[str] = field(default_factory=set)
    off_loop: set[str] = field(default_factory=set)

    def add(self, path: str) -> None:
        if path.startswith(self.directory):
            (self.on_loop if threading.get_ident() == self.loop else self.off_loop).add(os.path.basename(path))


_open: list[Opens] = []


@cache
def _install() -> None:
    """Once: a hook stays for as long as the process."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if _open and event == "open" and isinstance(arguments[0], str):
            for found in _open:
                found.add(arguments[0])

    sys.addaudithook(hook)


@contextmanager
def opens(directory: Path) -> Iterator[Opens]:
    """Enter it in the thread of the event loop."""
    _install()
    found = Opens(f"{directory}/", threading.get_ident())
    _open.append(found)
    try:
        yield found
    finally:
        _open.remove(found)
