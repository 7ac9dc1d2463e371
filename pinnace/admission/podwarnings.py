"""Pods that are accepted and probably do not mean what their manifest says.

Source: warnings.go of Kubernetes' pkg/api/pod.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import formats, podspec
from pinnace.admission import affinity, resources
from pinnace.fielderrors import shown
from pinnace.remembered import Remembered

_BYTES = ("ephemeral-storage", "memory")
_NULL_SELECTOR = "a null labelSelector results in matching no pod"
# As `podspec.containers` gives them.
Containers = list[tuple[str, Any]]
# Labels of nodes by the version of Kubernetes that deprecated them, and what replaced them.
_DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}


def warnings(pod: Any, old: Any | None = None) -> list[str]:
    """What to tell the client of a new pod, or of one whose spec changed."""
    if old is not None and old.spec == pod.spec:
        return []
    return [*_of_spec(pod.spec)]


@Remembered
def _of_spec(spec: Any) -> tuple[str, ...]:
    containers = list(podspec.containers_of(spec))
    return (
        *_labels(spec),
        *_spread(spec),
        *_null_selectors(spec),
        *_names(spec, containers),
        *_ports(containers),
        *_fractions(containers),
    )


def _labels(spec: Any) -> Iterator[str]:
    for key in sorted(spec.nodeSelector):
        if key in _DEPRECATED_LABELS:
            yield f"spec.nodeSelector[{key}]: {_instead(key)}"
    nodes = spec.affinity.nodeAffinity
    path = f"spec.affinity.nodeAffinity.{affinity.REQUIRED}.nodeSelectorTerms"
    for index, term in enumerate(nodes.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms):
        yield from _term(term, f"{path}[{index}]")
    for index, item in enumerate(nodes.preferredDuringSchedulingIgnoredDuringExecution):
        where = f"spec.affinity.nodeAffinity.{affinity.PREFERRED}[{index}].preference"
        yield from _term(item.preference, where)
        yield from _invalid_values(item.preference, where)


def _instead(key: str) -> str:
    version, instead = _DEPRECATED_LABELS[key]
    return f'deprecated since {version}; use "{instead}" instead'


def _term(term: Any, path: str) -> Iterator[str]:
    for index, item in enumerate(term.matchExpressions):
        if item.key in _DEPRECATED_LABELS:
            yield f"{path}.matchExpressions[{index}].key: {item.key} is {_instead(item.key)}"


def _invalid_values(term: Any, path: str) -> Iterator[str]:
    """Values that no label can have: the preference is for no node."""
    for index, item in enumerate(term.matchExpressions):
        for number, value in enumerate(item.values):
            for detail in formats.label_value(value):
                yield f"{path}.matchExpressions[{index}].values[{number}]: {value} is invalid, {detail}"


def _spread(spec: Any) -> Iterator[str]:
    for index, item in enumerate(spec.topologySpreadConstraints):
        path = f"spec.topologySpreadConstraints[{index}]"
        if item.topologyKey in _DEPRECATED_LABELS:
            yield f"{path}.topologyKey: {item.topologyKey} is {_instead(item.topologyKey)}"
        if not item.HasField("labelSelector"):
            yield f"{path}.labelSelector: {_NULL_SELECTOR}"


def _null_selectors(spec: Any) -> Iterator[str]:
    if not spec.HasField("affinity"):
        return
    for field in ("podAffinity", "podAntiAffinity"):
        for path, term in affinity.terms(getattr(spec.affinity, field)):
            if not term.HasField("labelSelector"):
                yield f"spec.affinity.{field}.{path}.labelSelector: {_NULL_SELECTOR}"


def _names(spec: Any, containers: Containers) -> Iterator[str]:
    for index, item in enumerate(spec.imagePullSecrets):
        if not item.name:
            yield f'spec.imagePullSecrets[{index}].name: invalid empty name ""'
    for path, container in containers:
        seen: set[str] = set()
        for index, variable in enumerate(container.env):
            if variable.name in seen:
                hidden = f"hides previous definition of {shown(variable.name)}, which may be dropped when using apply"
                yield f"{path}.env[{index}]: {hidden}"
            seen.add(variable.name)


def _ports(containers: Containers) -> Iterator[str]:
    seen: dict[tuple[Any, ...], str] = {}
    for path, container in containers:
        for index, port in enumerate(container.ports):
            here = f"{path}.ports[{index}]"
            first = seen.setdefault((port.containerPort, port.protocol, port.hostIP, port.hostPort), here)
            if first != here:
                yield f"{here}: duplicate port definition with {first}"


def _fractions(containers: Containers) -> Iterator[str]:
    for path, container in containers:
        if not container.HasField("resources"):
            continue
        for field, amounts in (("limits", container.resources.limits), ("requests", container.resources.requests)):
            for name in _BYTES:
                found = resources.amount(amounts[name].string) if name in amounts else None
                if found is not None and found.denominator != 1:
                    text = f"fractional byte value {shown(amounts[name].string)} is invalid, must be an integer"
                    yield f"{path}.resources.{field}[{name}]: {text}"
