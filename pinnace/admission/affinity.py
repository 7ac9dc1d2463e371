"""Affinity of pods: rules between its fields, and the label keys that become a part of label selectors.

Source: core/v1's validateAffinity, and the pod strategy's mutatePodAffinity and mutateTopologySpreadConstraints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pinnace import fielderrors, formats, labelselectors, nodeselectors
from pinnace.errors import Cause

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def validate(affinity: Any, path: str) -> Iterator[Cause]:
    """Every error of a pod's affinity at `path`."""
    if affinity.HasField("nodeAffinity"):
        yield from _node_affinity(affinity.nodeAffinity, f"{path}.nodeAffinity")
    if affinity.HasField("podAffinity"):
        yield from _pod_affinity(affinity.podAffinity, f"{path}.podAffinity")
    if affinity.HasField("podAntiAffinity"):
        yield from _pod_affinity(affinity.podAntiAffinity, f"{path}.podAntiAffinity")


def _node_affinity(item: Any, path: str) -> Iterator[Cause]:
    if item.HasField(REQUIRED):
        yield from nodeselectors.validate(item.requiredDuringSchedulingIgnoredDuringExecution, f"{path}.{REQUIRED}")
    for index, preferred in enumerate(item.preferredDuringSchedulingIgnoredDuringExecution):
        where = f"{path}.{PREFERRED}[{index}]"
        yield from _weight(preferred.weight, where)
        yield from nodeselectors.validate_term(preferred.preference, f"{where}.preference", label_values=False)


def _weight(weight: int, path: str) -> Iterator[Cause]:
    if not 1 <= weight <= 100:
        yield fielderrors.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def terms(item: Any) -> Iterator[tuple[str, Any]]:
    """The terms of a pod's affinity or anti-affinity, with their paths in it."""
    for index, term in enumerate(item.requiredDuringSchedulingIgnoredDuringExecution):
        yield f"{REQUIRED}[{index}]", term
    for index, weighted in enumerate(item.preferredDuringSchedulingIgnoredDuringExecution):
        yield f"{PREFERRED}[{index}].podAffinityTerm", weighted.podAffinityTerm


def _pod_affinity(item: Any, path: str) -> Iterator[Cause]:
    for where, term in terms(item):
        yield from _term(term, f"{path}.{where}")
    for index, weighted in enumerate(item.preferredDuringSchedulingIgnoredDuringExecution):
        yield from _weight(weighted.weight, f"{path}.{PREFERRED}[{index}]")


def _term(item: Any, path: str) -> Iterator[Cause]:
    for name in ("labelSelector", "namespaceSelector"):
        if item.HasField(name):
            yield from labelselectors.validate(getattr(item, name), f"{path}.{name}")
    for name in item.namespaces:
        for detail in formats.dns_label(name):
            yield fielderrors.invalid(f"{path}.namespace", name, detail)
    yield from label_keys(item, item.mismatchLabelKeys, path)
    if not item.topologyKey:
        yield fielderrors.required(f"{path}.topologyKey", "can not be empty")
    for detail in formats.qualified_name(item.topologyKey):
        yield fielderrors.invalid(f"{path}.topologyKey", item.topologyKey, detail)


def label_keys(item: Any, mismatch: Sequence[str], path: str) -> Iterator[Cause]:
    """Of a term or a spread constraint. Of a pod, its label selector has the requirements of the keys already."""
    for field, keys in (("matchLabelKeys", item.matchLabelKeys), ("mismatchLabelKeys", mismatch)):
        if keys and not item.HasField("labelSelector"):
            yield fielderrors.forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")
            continue
        for index, key in enumerate(keys):
            for detail in formats.qualified_name(key):
                yield fielderrors.invalid(f"{path}.{field}[{index}]", key, detail)
    known = set(item.labelSelector.matchLabels)
    for expression in item.labelSelector.matchExpressions:
        if expression.key in known and expression.key in item.matchLabelKeys:
            index = list(item.matchLabelKeys).index(expression.key)
            yield fielderrors.invalid(f"{path}[{index}]", expression.key, "exists in both matchLabelKeys and labelSelector")
        known.add(expression.key)
    for index, key in enumerate(item.matchLabelKeys):
        if key in mismatch:
            text = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield fielderrors.invalid(f"{path}.matchLabelKeys[{index}]", key, text)


def apply_label_keys(pod: Any) -> None:
    """Put matchLabelKeys and mismatchLabelKeys of a new pod into the label selectors, with the values that the pod has."""
    spec, labels = pod.spec, pod.metadata.labels
    if spec.HasField("affinity"):
        for item in (spec.affinity.podAffinity, spec.affinity.podAntiAffinity):
            for _, term in terms(item):
                _merge(term, "In", term.matchLabelKeys, labels)
                _merge(term, "NotIn", term.mismatchLabelKeys, labels)
    for constraint in spec.topologySpreadConstraints:
        _merge(constraint, "In", constraint.matchLabelKeys, labels)


def _merge(item: Any, operator: str, keys: Sequence[str], labels: Mapping[str, str]) -> None:
    """A selector that is absent matches no pod, whatever the keys."""
    for key in keys if item.HasField("labelSelector") else ():
        if key in labels:
            item.labelSelector.matchExpressions.add(key=key, operator=operator, values=[labels[key]])
