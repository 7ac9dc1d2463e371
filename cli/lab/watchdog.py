"""Reverts a fault of a lab when its time is over: `python -m cli.lab.watchdog LAB KIND HOST[,HOST] UNTIL SECONDS CONFIG`.

It is a session of its own, so it outlives the kctl that started it. The lab's record has its pid, by which `lab down` ends it,
and a command that reverts the fault before. When a lab is gone without that, it ends by itself.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# Seconds between reads of the record; attempts to revert, and seconds between them.
POLL, TRIES, AGAIN = 1.0, 5, 5.0


def main(words: list[str]) -> int:
    from cli.lab import faultrecord, faults, layout
    from cli.lab.layout import Fault, Lab
    from pinnace.errors import ApiError

    name, kind, hosts, until, seconds, config = words
    deadline = time.monotonic() + float(seconds)

    def own(lab: Lab) -> Fault | None:
        found = faultrecord.of(lab, kind, tuple(hosts.split(",")))
        return found if found is not None and found.until == float(until) else None

    def revert() -> None:
        with layout.exclusive(name):
            lab = layout.load(name)
            if (fault := own(lab)) is not None:
                for warning in faults.revert(lab, fault, config=Path(config), say=lambda text: None):
                    print(f"warning: {warning}", file=sys.stderr, flush=True)

    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, POLL))
        if name not in layout.names():
            return 0
    for number in range(TRIES):
        try:
            revert()
        except (ApiError, OSError) as error:
            print(f"error: {kind} of {hosts} is not reverted: {error}", file=sys.stderr, flush=True)
            if name not in layout.names() or number == TRIES - 1:
                return 1
            time.sleep(AGAIN)
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
