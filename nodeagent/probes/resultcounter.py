"""From single results of a probe to a verdict. Pure.

Source: the probe page of Kubernetes: a verdict changes after `successThreshold` or `failureThreshold` results in a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResultCounter:
    """Results in a row: `run` of them were `ok`. `verdict` is None until there is a first one."""

    ok: bool = False
    run: int = 0
    verdict: bool | None = None

    def count(self, ok: bool, probe: Any) -> ResultCounter:
        run = self.run + 1 if ok == self.ok else 1
        needed = probe.successThreshold if ok else probe.failureThreshold
        return ResultCounter(ok, run, ok if run >= needed else self.verdict)
