"""The status of a pod that a client writes; a node reports its own through the dispatcher.

Source: core/v1's ValidatePodStatusUpdate.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, podspec
from pinnace.admission import meta
from pinnace.errors import Cause

_NATURAL = "must be a non-negative integer"
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def validate(pod: Any, old: Any) -> list[Cause]:
    status = pod.status
    errors = _conditions(status.conditions)
    if status.observedGeneration < 0:
        errors.append(fielderrors.invalid("status.observedGeneration", status.observedGeneration, _NATURAL))
    if status.nominatedNodeName not in ("", old.status.nominatedNodeName):
        errors += meta.each("status.nominatedNodeName", status.nominatedNodeName, formats.dns_subdomain)
        if old.spec.nodeName:
            text = "may not be set on pods that are already bound to a node"
            errors.append(fielderrors.forbidden("status.nominatedNodeName", text))
    if status.qosClass not in ("", old.status.qosClass):
        errors.append(fielderrors.invalid("status.qosClass", status.qosClass, "field is immutable"))
    errors += _transitions(pod, old)
    return [*errors, *addresses(status)]


def addresses(status: Any) -> list[Cause]:
    """Errors of a pod's addresses and of its node's, as a client or a node states them."""
    return [*_addresses("podIP", status.podIP, status.podIPs), *_addresses("hostIP", status.hostIP, status.hostIPs)]


def _conditions(conditions: Any) -> list[Cause]:
    errors: list[Cause] = []
    for index, condition in enumerate(conditions):
        if condition.observedGeneration < 0:
            path = f"status.conditions[{index}].observedGeneration"
            errors.append(fielderrors.invalid(path, condition.observedGeneration, _NATURAL))
        for detail in formats.qualified_name(condition.type):
            errors.append(fielderrors.invalid(f"status.conditions[{index}].type", condition.type, detail))
    return errors


def _addresses(field: str, first: str, items: Any) -> Iterator[Cause]:
    """One address for each family, the first of them in the field of old."""
    path, found = f"status.{field}s", [item.ip for item in items] or [first]
    if not items and not first:
        return
    wrong = [error for index, ip in enumerate(found) for error in meta.each(f"{path}[{index}].ip", ip, formats.ip)]
    yield from wrong
    if found[0] != first:
        yield fielderrors.invalid(f"{path}[0].ip", found[0], f"must be equal to `{field}`")
    if len(found) > 1 and not wrong and len({ipaddress.ip_address(ip).version for ip in found}) != len(found):
        yield fielderrors.invalid(path, found, "may specify no more than one IP for each IP family")


def _transitions(pod: Any, old: Any) -> Iterator[Cause]:
    """Containers that have ended for good and would run again."""
    ended = any(status.state.HasField("terminated") for field in _STATUSES for status in getattr(old.status, field))
    if not ended:
        return
    every = {container.name: container for _, container in podspec.containers(old)}
    rules = [rule for item in (*old.spec.initContainers, *old.spec.containers) for rule in item.restartPolicyRules]
    anew = any(rule.action == podspec.RESTART_ALL for rule in rules)
    for field in _STATUSES:
        ephemeral = field == "ephemeralContainerStatuses"
        after = {status.name: status for status in reversed(getattr(pod.status, field))}
        for index, before in enumerate(getattr(old.status, field)):
            if not before.state.HasField("terminated") or before.name not in after or (anew and not ephemeral):
                continue
            container = None if ephemeral else every.get(before.name)
            again = container is not None and _restarts(old, container, before.state.terminated.exitCode)
            if not again and not after[before.name].state.HasField("terminated"):
                text = "may not be transitioned to non-terminated state"
                yield fielderrors.forbidden(f"status.{field}[{index}].state", text)


def _restarts(pod: Any, container: Any, code: int) -> bool:
    policy = container.restartPolicy or pod.spec.restartPolicy
    return podspec.restart_rule(container, code) is not None or policy == "Always" or (policy == "OnFailure" and code != 0)
