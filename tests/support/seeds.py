"""Run a program under several hash seeds: the order of sets must not show in what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable


def run(program: str, seeds: Iterable[int]) -> list[str]:
    """The output of each run; they run at the same time. Raises CalledProcessError."""
    command = [sys.executable, "-c", program]
    runs = [
        subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": str(seed)}, stdout=subprocess.PIPE, text=True)
        for seed in seeds
    ]
    outputs = [process.communicate()[0] for process in runs]
    for process in runs:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return outputs
