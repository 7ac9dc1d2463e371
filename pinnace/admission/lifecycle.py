"""Rules between fields for a pod's life: probes, hooks, sidecars, ephemeral containers, restart rules.

Source: the behaviour of Kubernetes' pod validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pinnace import podspec, signals
from pinnace.errors import Cause
from pinnace.rules import is_port_name

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
MAX_RULES = 20


def validate(pod: Any) -> list[Cause]:
    faults = []
    for index, container in enumerate(pod.spec.containers):
        faults += _watched(f"spec.containers[{index}]", container)
    for index, container in enumerate(pod.spec.initContainers):
        path = f"spec.initContainers[{index}]"
        faults += _watched(path, container) if podspec.is_sidecar(container) else _plain(path, container)
    for path, container in podspec.containers(pod):
        faults += _restart_rules(path, container)
    return faults + _ephemeral(pod) + _gates(pod)


def _watched(path: str, container: Any) -> list[Cause]:
    """A container that may have probes and hooks."""
    faults = []
    for name in _PROBES:
        if container.HasField(name):
            faults += _probe(f"{path}.{name}", name, getattr(container, name))
    for name in ("postStart", "preStop"):
        if container.lifecycle.HasField(name):
            faults += _handler(f"{path}.lifecycle.{name}", getattr(container.lifecycle, name))
    chosen = container.lifecycle.stopSignal
    if chosen and signals.number(chosen) is None:
        faults.append(Cause(f"{path}.lifecycle.stopSignal", f'Unsupported value: "{chosen[:40]}": not a signal'))
    return faults


def _plain(path: str, container: Any) -> list[Cause]:
    given = [name for name in (*_PROBES, "lifecycle") if container.HasField(name)]
    return [
        Cause(f"{path}.{name}", "may not be set for init containers without restartPolicy=Always", "FieldValueForbidden")
        for name in given
    ]


def _probe(path: str, name: str, probe: Any) -> list[Cause]:
    faults = _handler(path, probe.handler)
    if name != "readinessProbe" and probe.successThreshold != 1:
        faults.append(Cause(f"{path}.successThreshold", f"Invalid value: {probe.successThreshold}: must be 1"))
    if name == "readinessProbe" and probe.HasField("terminationGracePeriodSeconds"):
        message = "must not be set for readinessProbes"
        faults.append(Cause(f"{path}.terminationGracePeriodSeconds", message, "FieldValueForbidden"))
    return faults


def _handler(path: str, handler: Any) -> list[Cause]:
    given = [field.name for field, _ in handler.ListFields()]
    if len(given) != 1:
        reason = "must specify a handler type" if not given else "may not specify more than 1 handler type"
        return [Cause(path, f"Required value: {reason}" if not given else reason)]
    action = getattr(handler, given[0])
    return _port(f"{path}.{given[0]}.port", action.port) if given[0] in ("httpGet", "tcpSocket") else []


def _port(path: str, port: Any) -> list[Cause]:
    if port.type == 0:
        fine = 1 <= port.intVal <= 65535
        return [] if fine else [Cause(path, f"Invalid value: {port.intVal}: must be between 1 and 65535, inclusive")]
    wrong = is_port_name(port.strVal) if not port.strVal.isdigit() else None
    return [Cause(path, f'Invalid value: "{port.strVal[:80]}": {wrong}')] if wrong else []


def _restart_rules(path: str, container: Any) -> list[Cause]:
    faults = []
    if container.restartPolicyRules and not container.restartPolicy:
        faults.append(Cause(f"{path}.restartPolicy", "Required value: with restartPolicyRules", "FieldValueRequired"))
    if len(container.restartPolicyRules) > MAX_RULES:
        faults.append(Cause(f"{path}.restartPolicyRules", f"Too many: must have at most {MAX_RULES} items"))
    for index, rule in enumerate(container.restartPolicyRules):
        if not rule.exitCodes.values:
            faults.append(Cause(f"{path}.restartPolicyRules[{index}].exitCodes.values", "Required value", "FieldValueRequired"))
    return faults


def _ephemeral(pod: Any) -> list[Cause]:
    others = {container.name for container in (*pod.spec.initContainers, *pod.spec.containers)}
    faults = []
    for index, item in enumerate(pod.spec.ephemeralContainers):
        path = f"spec.ephemeralContainers[{index}]"
        for mount_index, mount in enumerate(item.ephemeralContainerCommon.volumeMounts):
            if mount.subPath or mount.subPathExpr:
                where = f"{path}.volumeMounts[{mount_index}].subPath"
                faults.append(Cause(where, "cannot be set for an Ephemeral Container", "FieldValueForbidden"))
        if item.targetContainerName and item.targetContainerName not in others:
            shown = f'Not found: "{item.targetContainerName[:80]}"'
            faults.append(Cause(f"{path}.targetContainerName", shown, "FieldValueNotFound"))
    return faults


def _gates(pod: Any) -> list[Cause]:
    return [
        Cause(f"spec.readinessGates[{index}].conditionType", f'Duplicate value: "{kind}"', "FieldValueDuplicate")
        for index, kind in enumerate(gate.conditionType for gate in pod.spec.readinessGates)
        if kind in [other.conditionType for other in pod.spec.readinessGates][:index]
    ]


def validate_create(pod: Any) -> list[Cause]:
    if pod.spec.ephemeralContainers:
        message = "cannot be set on create: add one to a running pod (kctl debug)"
        return [Cause("spec.ephemeralContainers", message, "FieldValueForbidden")]
    return []


def ephemeral_faults(old: Iterable[Any], new: Iterable[Any]) -> list[Cause]:
    """Ephemeral containers may be added, and nothing else."""
    after = {item.ephemeralContainerCommon.name: item for item in new}
    faults = []
    for item in old:
        name = item.ephemeralContainerCommon.name
        if after.get(name) != item:
            message = f'existing ephemeral containers "{name}" may not be {"changed" if name in after else "removed"}'
            faults.append(Cause("spec.ephemeralContainers", message, "FieldValueForbidden"))
    return faults
