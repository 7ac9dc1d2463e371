"""Node selectors (NodeSelector messages): the nodes that they match, and their rules. Pure.

The scheduler, controllers, volumes and nodes all match by this module.
Source: component-helpers' scheduling/corev1/nodeaffinity, and core/v1's ValidateNodeSelector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pinnace import fielderrors, formats
from pinnace.core.v1.pod_pb2 import PodSpec
from pinnace.core.v1.scheduling_pb2 import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from pinnace.errors import Cause
from pinnace.selectors import Requirement

NAME = "metadata.name"
_SETS, _PRESENCE, _COMPARISONS = ("In", "NotIn"), ("Exists", "DoesNotExist"), ("Gt", "Lt")


class Term(NamedTuple):
    """One alternative of a selector: requirements on labels and on fields, which must all hold."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node of this name with these labels meets every requirement."""
        if not all(requirement.matches(labels) for requirement in self.expressions):
            return False
        return not self.fields or _all(self.fields, {NAME: name})


def _all(requirements: Iterable[Requirement], values: Mapping[str, str]) -> bool:
    return all(requirement.matches(values) for requirement in requirements)


def term(message: NodeSelectorTerm) -> Term | None:
    """None for a term that matches no node: an empty one, or one that breaks a rule, which only a store can hold."""
    if not (message.matchExpressions or message.matchFields) or any(validate_term(message, "")):
        return None
    return Term(_requirements(message.matchExpressions), _requirements(message.matchFields))


def _requirements(messages: Iterable[NodeSelectorRequirement]) -> tuple[Requirement, ...]:
    return tuple(Requirement(item.key, item.operator, tuple(item.values)) for item in messages)


def terms(selector: NodeSelector) -> tuple[Term, ...]:
    """The terms that can match a node, one of which must."""
    return tuple(found for item in selector.nodeSelectorTerms if (found := term(item)) is not None)


def matches(selector: NodeSelector | None, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a selector matches a node. An absent one matches every node, one without terms none."""
    return selector is None or any(item.matches(name, labels) for item in terms(selector))


def required(spec: PodSpec) -> NodeSelector | None:
    """The selector of a pod's required node affinity; None without one."""
    affinity = spec.affinity.nodeAffinity
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    return affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity.HasField(field) else None


def pod_fits(spec: PodSpec, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a pod's nodeSelector and required node affinity allow a node."""
    if any(labels.get(key) != value for key, value in spec.nodeSelector.items()):
        return False
    return matches(required(spec), name, labels)


def validate(selector: NodeSelector, path: str) -> Iterator[Cause]:
    """Every error of a selector at `path`."""
    if not selector.nodeSelectorTerms:
        yield fielderrors.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, item in enumerate(selector.nodeSelectorTerms):
        yield from validate_term(item, f"{path}.nodeSelectorTerms[{index}]")


def validate_term(item: NodeSelectorTerm, path: str, *, label_values: bool = True) -> Iterator[Cause]:
    """Every error of a term. Without `label_values`, values that no label can have are no errors: they match no node."""
    for index, expression in enumerate(item.matchExpressions):
        yield from _expression(expression, f"{path}.matchExpressions[{index}]", label_values=label_values)
    for index, expression in enumerate(item.matchFields):
        yield from _field(expression, f"{path}.matchFields[{index}]")


def _expression(item: NodeSelectorRequirement, path: str, *, label_values: bool) -> Iterator[Cause]:
    if item.operator in _SETS:
        if not item.values:
            yield fielderrors.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif item.operator in _PRESENCE:
        if item.values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield fielderrors.forbidden(f"{path}.values", text)
    elif item.operator in _COMPARISONS:
        if len(item.values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield fielderrors.required(f"{path}.values", text)
    else:
        yield fielderrors.invalid(f"{path}.operator", item.operator, "not a valid selector operator")
    for detail in formats.qualified_name(item.key):
        yield fielderrors.invalid(f"{path}.key", item.key, detail)
    for index, value in enumerate(item.values if label_values else ()):
        for detail in formats.label_value(value):
            yield fielderrors.invalid(f"{path}.values[{index}]", value, detail)


def _field(item: NodeSelectorRequirement, path: str) -> Iterator[Cause]:
    if item.operator not in _SETS:
        yield fielderrors.invalid(f"{path}.operator", item.operator, "not a valid selector operator")
    elif len(item.values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield fielderrors.required(f"{path}.values", text)
    if item.key != NAME:
        yield fielderrors.invalid(f"{path}.key", item.key, "not a valid field selector key")
        return
    for index, value in enumerate(item.values):
        for detail in formats.dns_subdomain(value):
            yield fielderrors.invalid(f"{path}.values[{index}]", value, detail)
