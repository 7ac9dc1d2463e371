"""From Apply to Ready, with the image on the node; `runc run` beside it as a yardstick."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

from support import DEADLINE, ROOT, client, lab, percentiles, remove_pods, start_pods

SINGLE, BURST, BURSTS, RUNC = 30, 50, 3, 30


def runc_runs() -> list[float]:
    """Milliseconds of `runc run` of `true` in busybox."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder)
        subprocess.run([str(ROOT / "examples/busybox-image.sh"), str(bundle / "rootfs")], check=True, timeout=DEADLINE)
        subprocess.run(["runc", "spec"], cwd=bundle, check=True, timeout=DEADLINE)
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"] |= {"terminal": False, "args": ["true"]}
        (bundle / "config.json").write_text(json.dumps(spec))
        took = []
        for number in range(RUNC):
            begun = time.perf_counter()
            subprocess.run(["runc", "run", f"bench-{number}"], cwd=bundle, check=True, capture_output=True, timeout=DEADLINE)
            took.append((time.perf_counter() - begun) * 1000)
    return took


def main() -> None:
    with lab("bench-pods", 3) as (config, _):
        connection = client(config)
        start_pods(connection, ["warm"])
        remove_pods(connection, ["warm"])
        single = []
        for number in range(SINGLE):
            single.append(start_pods(connection, [f"one-{number}"]) * 1000)
            remove_pods(connection, [f"one-{number}"])
        bursts = []
        for round_ in range(BURSTS):
            names = [f"many-{round_}-{number}" for number in range(BURST)]
            bursts.append(start_pods(connection, names))
            remove_pods(connection, names)
    result = {
        "one_pod_ready_ms": percentiles(single),
        "fifty_pods_ready_s": sorted(round(value, 3) for value in bursts)[len(bursts) // 2],
        "fifty_pods_ready_s_all": [round(value, 3) for value in bursts],
        "runc_run_ms": percentiles(runc_runs()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
