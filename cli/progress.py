"""Progress of work that takes a while: what is waited for, on a terminal. Imports no messages, as `cli.output` does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

# Tells what is being waited for.
Say = Callable[[str], None]


class Progress:
    """One line on a terminal's stderr that is written over; nothing anywhere else."""

    _FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._frame = 0
        self._start = time.monotonic()

    def show(self, text: str) -> None:
        """Say what is being waited for; silent in the first half second."""
        if self._shown and time.monotonic() - self._start > 0.5:
            self._frame = (self._frame + 1) % len(self._FRAMES)
            sys.stderr.write(f"\r\x1b[K{self._FRAMES[self._frame]} {text[: os.get_terminal_size(2).columns - 3]}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
