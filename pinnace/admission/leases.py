"""Leases: the strategy by which their next holder is chosen.

Source: coordination/v1's ValidateLeaseSpec; durations and counts are field options.
"""

from __future__ import annotations

from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.coordination.v1 import lease_pb2
from pinnace.errors import Cause

_STRATEGIES = ("OldestEmulationVersion",)


def validate(lease: Any) -> list[Cause]:
    spec = lease.spec
    errors: list[Cause] = []
    if spec.HasField("strategy"):
        if "/" in spec.strategy:
            errors += meta.each("spec.strategy", spec.strategy, formats.qualified_name)
        elif spec.strategy not in _STRATEGIES:
            errors.append(fielderrors.not_supported("spec.strategy", spec.strategy, _STRATEGIES))
    if spec.preferredHolder and not spec.strategy:
        errors.append(fielderrors.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    return errors


RULES = KindRules[lease_pb2.Lease](validate=validate)
