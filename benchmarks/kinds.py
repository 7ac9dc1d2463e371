"""What the control plane's modules take of its heap, and what a kind does: its messages, rules, resource and controllers. Without
root or a lab: modules are imported in a process of their own, with Python's allocator off, so that glibc counts every byte.

A module is a kind's if its name has the kind's in it. What is imported later (numpy, libyaml, ...) is not counted, nor are pages of
shared objects: `footprint.py` measures the whole process.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from importlib import machinery
from types import ModuleType
from typing import Any

KB = 1000
# The largest of each list that are printed.
SHOWN = 8


class _Info(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]
    ]


def heap() -> int:
    """Bytes in use of this process's heap."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Info
    found = libc.mallinfo2()
    return int(found.uordblks) + int(found.hblkhd)


class Costs:
    """Bytes by module, each without the modules that it imports."""

    def __init__(self) -> None:
        self.by_module: Counter[str] = Counter()
        self._inner = [0]

    def follow(self) -> None:
        """From now on; for this process's rest of life."""
        for loader in (machinery.SourceFileLoader, machinery.ExtensionFileLoader):
            self._wrap(loader)

    def _wrap(self, loader: Any) -> None:
        original = loader.exec_module

        def measured(this: Any, module: ModuleType) -> None:
            before = heap()
            self._inner.append(0)
            try:
                original(this, module)
            finally:
                taken, inner = heap() - before, self._inner.pop()
                self._inner[-1] += taken
                self.by_module[module.__name__] += taken - inner

        loader.exec_module = measured


def measure() -> None:
    """In a process of its own."""
    gc.disable()
    costs = Costs()
    costs.follow()
    importlib.import_module("controlplane.__main__")
    importlib.import_module("controlplane.server")
    print(json.dumps(costs.by_module))


def by_kind(costs: dict[str, int]) -> tuple[dict[str, float], set[str]]:
    """KB of each kind, and the kinds with a controller."""
    from pinnace import kinds

    own = [name for name in costs if name.startswith(("pinnace.", "controlplane.")) and "__" not in name]
    found: dict[str, float] = {}
    controlled = set()
    # The longest name first: cronjob is not a job.
    for kind in sorted({kind.kind.lower() for kind in kinds.ALL}, key=len, reverse=True):
        modules = [name for name in own if kind in name.rpartition(".")[2].replace("_", "")]
        own = [name for name in own if name not in modules]
        if modules:
            found[kind] = round(sum(costs[name] for name in modules) / KB, 1)
        if any(name.startswith("controlplane.controllers.") for name in modules):
            controlled.add(kind)
    return found, controlled


def mean(values: list[float]) -> float:
    return round(sum(values) / max(len(values), 1), 1)


def main() -> None:
    command = [sys.executable, __file__, "--measure"]
    environment = {**os.environ, "PYTHONMALLOC": "malloc"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=environment)
    costs: dict[str, int] = json.loads(done.stdout)
    kinds, controlled = by_kind(costs)
    groups: Counter[str] = Counter()
    for name, taken in costs.items():
        groups[name.partition(".")[0]] += taken
    result = {
        "imported_mb": round(sum(costs.values()) / KB / KB, 1),
        "modules": len(costs),
        "kind_kb": mean([taken for kind, taken in kinds.items() if kind not in controlled]),
        "kind_with_controller_kb": mean([kinds[kind] for kind in controlled]),
        "largest_kinds_kb": dict(Counter(kinds).most_common(SHOWN)),
        "largest_packages_kb": {name: round(taken / KB) for name, taken in groups.most_common(SHOWN)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    measure() if sys.argv[1:] == ["--measure"] else main()
