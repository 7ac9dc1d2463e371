"""What a fresh Python has imported once a program has run."""

from __future__ import annotations

import subprocess
import sys


def imported_by(program: str, *words: str) -> set[str]:
    """Names of modules. Without site, whose hooks import some of their own."""
    path = [item for item in sys.path if item]
    script = f"import sys; sys.path[:0] = {path!r}\n{program}\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    command = [sys.executable, "-I", "-S", "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return set(done.stderr.split())
