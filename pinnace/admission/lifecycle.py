"""Rules between fields for a pod's life: sidecars, ephemeral containers, restart rules, stop signals.

Source: core/v1's validateInitContainers, validateEphemeralContainers, validateContainerRestartPolicy and validateLifecycle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, podspec
from pinnace.admission import handlers
from pinnace.admission.podparts import PodParts
from pinnace.errors import Cause

MAX_RULES, MAX_EXIT_CODES = 20, 255
_REAL_TIME = [f"SIGRTMAX-{below}" for below in range(1, 15)] + [f"SIGRTMIN+{above}" for above in range(1, 16)]
_NAMES = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT STOP SYS TERM "
    "TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
)
STOP_SIGNALS = sorted([*_REAL_TIME, *(f"SIG{name}" for name in _NAMES.split())])
_EPHEMERAL = "cannot be set for an Ephemeral Container"
_NOT_INIT = "may not be set for init containers without restartPolicy=Always"


def validate(parts: PodParts) -> list[Cause]:
    errors: list[Cause] = []
    observed = [*parts.having(*handlers.PROBES, "lifecycle")]
    for path, container, _ in observed:
        if path.startswith("spec.containers"):
            errors += _watched(path, container, parts.spec)
    for path, container, _ in observed:
        if path.startswith("spec.initContainers"):
            errors += _watched(path, container, parts.spec) if podspec.is_sidecar(container) else _plain(path, container)
    for path, container, _ in parts.having("restartPolicyRules"):
        errors += _restart_rules(path, container)
    return [*errors, *_ephemeral(parts.spec)] if "ephemeralContainers" in parts.fields else errors


def _watched(path: str, container: Any, spec: Any) -> Iterator[Cause]:
    """A container that may have probes and hooks."""
    for name in handlers.PROBES:
        if container.HasField(name):
            yield from handlers.probe(f"{path}.{name}", name, getattr(container, name))
    for name in ("postStart", "preStop"):
        if container.lifecycle.HasField(name):
            grace = spec.terminationGracePeriodSeconds
            yield from handlers.hook(f"{path}.lifecycle.{name}", getattr(container.lifecycle, name), grace)
    if container.lifecycle.HasField("stopSignal"):
        chosen, field = container.lifecycle.stopSignal, f"{path}.lifecycle.stopSignal"
        if not spec.HasField("os"):
            yield fielderrors.forbidden(field, "may not be set for containers with empty `spec.os.name`")
        elif chosen not in STOP_SIGNALS:
            yield fielderrors.not_supported(field, chosen, STOP_SIGNALS)


def _plain(path: str, container: Any) -> Iterator[Cause]:
    for name in (*handlers.PROBES, "lifecycle"):
        if container.HasField(name):
            yield fielderrors.forbidden(f"{path}.{name}", _NOT_INIT)


def _restart_rules(path: str, container: Any) -> Iterator[Cause]:
    rules, path_of_rules = container.restartPolicyRules, f"{path}.restartPolicyRules"
    if rules and not container.HasField("restartPolicy"):
        yield fielderrors.required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used")
    if len(rules) > MAX_RULES:
        yield fielderrors.too_many(path_of_rules, len(rules), MAX_RULES)
    for index, rule in enumerate(rules):
        here = f"{path_of_rules}[{index}].exitCodes"
        if not rule.HasField("exitCodes"):
            yield fielderrors.required(here, "must be specified")
        if len(rule.exitCodes.values) > MAX_EXIT_CODES:
            yield fielderrors.too_many(f"{here}.values", len(rule.exitCodes.values), MAX_EXIT_CODES)


def _ephemeral(spec: Any) -> Iterator[Cause]:
    others = {container.name for container in (*spec.initContainers, *spec.containers)}
    for index, item in enumerate(spec.ephemeralContainers):
        path = f"spec.ephemeralContainers[{index}]"
        if item.targetContainerName and item.targetContainerName not in others:
            yield fielderrors.not_found(f"{path}.targetContainerName", item.targetContainerName)
        for place, mount in enumerate(item.ephemeralContainerCommon.volumeMounts):
            for field in ("subPath", "subPathExpr"):
                if getattr(mount, field):
                    yield fielderrors.forbidden(f"{path}.volumeMounts[{place}].{field}", _EPHEMERAL)
