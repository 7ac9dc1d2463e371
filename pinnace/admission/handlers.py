"""Probes and lifecycle hooks: what they do, and how.

Source: core/v1's validateHandler, validateProbe and validateSleepAction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.errors import Cause

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_ONE = "may not specify more than 1 handler type"


def probe(path: str, name: str, item: Any) -> Iterator[Cause]:
    yield from _handler(path, item.handler)
    if name != "readinessProbe" and item.successThreshold != 1:
        yield fielderrors.invalid(f"{path}.successThreshold", item.successThreshold, "must be 1")
    if name == "readinessProbe" and item.HasField("terminationGracePeriodSeconds"):
        field = f"{path}.terminationGracePeriodSeconds"
        yield fielderrors.invalid(field, item.terminationGracePeriodSeconds, "must not be set for readinessProbes")


def hook(path: str, item: Any, grace: int) -> Iterator[Cause]:
    """`grace` is the pod's, in seconds: a sleep must end within it."""
    yield from _handler(path, item)
    if item.HasField("sleep") and not 0 <= item.sleep.seconds <= grace:
        text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
        yield fielderrors.invalid(f"{path}.sleep", item.sleep.seconds, text)


def _handler(path: str, item: Any) -> Iterator[Cause]:
    given = [field.name for field, _ in item.ListFields()]
    if not given:
        yield fielderrors.required(path, "must specify a handler type")
        return
    for extra in given[1:]:
        yield fielderrors.forbidden(f"{path}.{extra}", _ONE)
    name, action = given[0], getattr(item, given[0])
    if name in ("httpGet", "tcpSocket"):
        yield from _port(f"{path}.{name}.port", action.port)
    elif name == "grpc":
        yield from _number(f"{path}.grpc.port", action.port)
    if name == "httpGet":
        for header in action.httpHeaders:
            yield from meta.each(f"{path}.httpGet.httpHeaders", header.name, formats.http_header)


def _port(path: str, port: Any) -> Iterator[Cause]:
    yield from _number(path, port.intVal) if port.type == 0 else meta.each(path, port.strVal, formats.port_name)


def _number(path: str, number: int) -> Iterator[Cause]:
    for detail in formats.port_number(number):
        yield fielderrors.invalid(path, number, detail)
