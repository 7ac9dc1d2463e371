"""References of the downward API: to a field of the pod, and to a resource of a container.

Source: core/v1's validateObjectFieldSelector and validateContainerResourceFieldSelector.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, quantity
from pinnace.admission import meta
from pinnace.admission import resources as amounts
from pinnace.errors import Cause

_OWN = ("metadata.name", "metadata.namespace", "metadata.uid")
ENV_FIELDS = tuple(sorted((
    *_OWN, "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)))  # fmt: skip
FILE_FIELDS = tuple(sorted((*_OWN, "metadata.labels", "metadata.annotations")))
# Fields that the API knows, but neither of the above.
_OTHERS = ("spec.restartPolicy", "spec.schedulerName", "status.phase")
_SUBSCRIPT = re.compile(r"(.+?)\['(.*)'\]", re.DOTALL)
_RESOURCES = tuple(f"{kind}.{name}" for kind in ("limits", "requests") for name in sorted(amounts.KNOWN))
_CPU_DIVISORS = ("1m", "1")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def field(path: str, ref: Any, allowed: tuple[str, ...]) -> Iterator[Cause]:
    """Errors of a fieldRef, whose path must be one of `allowed` or a label or annotation."""
    if not ref.fieldPath:
        return
    wrong = _unconvertible(ref)
    if wrong:
        yield fielderrors.invalid(f"{path}.fieldPath", ref.fieldPath, f"error converting fieldPath: {wrong}")
        return
    match = _SUBSCRIPT.fullmatch(ref.fieldPath)
    if match is not None:
        key = match[2].lower() if match[1] == "metadata.annotations" else match[2]
        yield from meta.each(path, key, formats.qualified_name)
    elif ref.fieldPath not in allowed:
        yield fielderrors.not_supported(f"{path}.fieldPath", ref.fieldPath, allowed)


def _unconvertible(ref: Any) -> str:
    if ref.apiVersion != "v1":
        return f"unsupported pod version: {ref.apiVersion[:80]}"
    match = _SUBSCRIPT.fullmatch(ref.fieldPath)
    if match is not None:
        known = match[1] in ("metadata.labels", "metadata.annotations")
        return "" if known else f"field label does not support subscript: {ref.fieldPath[:80]}"
    known = ref.fieldPath in (*ENV_FIELDS, *FILE_FIELDS, *_OTHERS)
    return "" if known else f"field label not supported: {ref.fieldPath[:80]}"


def resource(path: str, ref: Any) -> Iterator[Cause]:
    """Errors of a resourceFieldRef."""
    if ref.resource and ref.resource not in _RESOURCES:
        yield fielderrors.not_supported(f"{path}.resource", ref.resource, _RESOURCES)
        return
    name = ref.resource.partition(".")[2]
    divisors = _CPU_DIVISORS if name == "cpu" else _BYTE_DIVISORS
    divisor = amounts.amount(ref.divisor.string or "0")
    if divisor != 0 and (divisor is None or divisor not in map(quantity.parse, divisors)):
        listed = " and ".join(divisors) if name == "cpu" else ", ".join(divisors)
        label = "local ephemeral storage" if name == "ephemeral-storage" else name
        text = f"only divisor's values {listed} are supported with the {label} resource"
        yield fielderrors.invalid(f"{path}.divisor", ref.resource, text)
