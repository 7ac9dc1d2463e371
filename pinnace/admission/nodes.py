"""Nodes: taints, address ranges, capacity, and what may not change once it is set.

Source: core/v1's ValidateNode and ValidateNodeUpdate.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta, resources
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1 import node_pb2
from pinnace.errors import Cause

_ONCE = 'node updates may not change {} except from "" to valid'


def validate(message: Any) -> list[Cause]:
    return [*_taints(message.spec.taints), *_ranges(message.spec)]


def _taints(taints: Any) -> Iterator[Cause]:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        if (taint.key, taint.effect) in seen:
            shown = f"{taint.key}:{taint.effect}"
            yield fielderrors.duplicate(f"spec.taints[{index}]", shown, "taints must be unique by key and effect pair")
        seen.add((taint.key, taint.effect))


def _ranges(spec: Any) -> Iterator[Cause]:
    wrong = False
    for index, value in enumerate(spec.podCIDRs):
        for error in meta.each(f"spec.podCIDRs[{index}]", value, formats.cidr):
            wrong = True
            yield error
    if spec.podCIDR:
        yield from meta.each("spec.podCIDR", spec.podCIDR, formats.cidr)
        if spec.podCIDRs and spec.podCIDRs[0] != spec.podCIDR:
            yield fielderrors.invalid("spec.podCIDR", spec.podCIDR, "must be the first of `podCIDRs`")
    if len(spec.podCIDRs) > 1 and not wrong:
        families = {ipaddress.ip_network(value, strict=False).version for value in spec.podCIDRs}
        if len(families) != len(spec.podCIDRs):
            shown = list(spec.podCIDRs)
            yield fielderrors.invalid("spec.podCIDRs", shown, "may specify no more than one CIDR for each IP family")


def validate_update(old: Any, new: Any) -> list[Cause]:
    errors = []
    for field in ("podCIDR", "podCIDRs", "providerID"):
        before, after = getattr(old.spec, field), getattr(new.spec, field)
        if before and before != after:
            errors.append(fielderrors.forbidden(f"spec.{field}", _ONCE.format(field)))
    return errors


def validate_status(message: Any, _: Any) -> list[Cause]:
    status = message.status
    errors: list[Cause] = []
    for field in ("capacity", "allocatable"):
        errors += resources.quantities(f"status.{field}", getattr(status, field))
    seen: set[tuple[str, str]] = set()
    for index, address in enumerate(status.addresses):
        if (address.type, address.address) in seen:
            errors.append(fielderrors.duplicate(f"status.addresses[{index}]", f"{address.type}/{address.address}"))
        seen.add((address.type, address.address))
    return errors


RULES = KindRules[node_pb2.Node](validate=validate, validate_update=validate_update, validate_status=validate_status)
