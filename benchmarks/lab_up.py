"""How long `kctl lab up --nodes 3` takes, whole process, until all nodes are Ready."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from support import kctl, percentiles

RUNS = 5


def main() -> None:
    took = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        for _ in range(RUNS):
            begun = time.perf_counter()
            kctl(config, "lab", "up", "--nodes", "3", "--name", "bench-up")
            took.append(time.perf_counter() - begun)
            kctl(config, "lab", "down", "--name", "bench-up")
    print(json.dumps({"lab_up_s": percentiles(took), "runs": RUNS}))


if __name__ == "__main__":
    main()
