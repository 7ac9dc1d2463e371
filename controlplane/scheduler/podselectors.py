"""Which pods an affinity term or a spread constraint means, in a form that is compared and hashed.

`SelectorIndex` finds the selectors that match a pod by the pod's labels, without a loop over all selectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pinnace import labelselectors
from pinnace.core.v1.scheduling_pb2 import PodAffinityTerm
from pinnace.selectors import Requirement

# Labels of namespaces by name.
Namespaces = Mapping[str, Mapping[str, str]]
# Keys under which one selector is found; one with more is compared with every pod.
MAX_HOOKS = 64
# Stands for every namespace in a hook.
ANY = ""
Hook = tuple[str, str, str | None]


class PodLabels(NamedTuple):
    """All that a selector compares of a pod."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    terminating: bool = False


NO_LABELS = PodLabels("", ())


class Part(NamedTuple):
    """Pods of some namespaces with some labels. None as a selector matches nothing, () everything."""

    namespaces: frozenset[str]
    namespace_selector: tuple[Requirement, ...] | None
    requirements: tuple[Requirement, ...] | None

    def matches(self, namespace: str, labels: Mapping[str, str], namespaces: Namespaces) -> bool:
        if self.requirements is None or not all(item.matches(labels) for item in self.requirements):
            return False
        if namespace in self.namespaces:
            return True
        selector = self.namespace_selector
        return selector is not None and all(item.matches(namespaces.get(namespace, {})) for item in selector)


class PodSelector(NamedTuple):
    """Pods that all parts match; without `terminating` only those that are not being deleted."""

    parts: tuple[Part, ...]
    terminating: bool = True

    def matches(self, pod: PodLabels, namespaces: Namespaces) -> bool:
        if pod.terminating and not self.terminating:
            return False
        labels = dict(pod.labels)
        return all(part.matches(pod.namespace, labels, namespaces) for part in self.parts)

    @property
    def selects_namespaces(self) -> bool:
        """Whether labels of namespaces matter."""
        return any(part.namespace_selector for part in self.parts)


class PodTerm(NamedTuple):
    """Pods in a domain of the topology `key`."""

    selector: PodSelector
    key: str


def term(message: PodAffinityTerm, namespace: str) -> PodTerm:
    """Of a pod in `namespace`. Its matchLabelKeys are in the label selector since the pod was created."""
    selector = labelselectors.requirements(message.labelSelector) if message.HasField("labelSelector") else None
    others = labelselectors.requirements(message.namespaceSelector) if message.HasField("namespaceSelector") else None
    own = not message.namespaces and others is None
    namespaces = frozenset((namespace,)) if own else frozenset(message.namespaces)
    return PodTerm(PodSelector((Part(namespaces, others, selector),)), message.topologyKey)


class SelectorIndex:
    """Selectors by number. One with a requirement In or Exists is under the labels which that requirement accepts."""

    def __init__(self) -> None:
        self._hooked: dict[Hook, dict[int, PodSelector]] = {}
        self._loose: dict[int, PodSelector] = {}

    def add(self, number: int, selector: PodSelector) -> None:
        hooks = _hooks(selector)
        if hooks is None:
            self._loose[number] = selector
        for hook in hooks or ():
            self._hooked.setdefault(hook, {})[number] = selector

    def remove(self, number: int, selector: PodSelector) -> None:
        self._loose.pop(number, None)
        for hook in _hooks(selector) or ():
            there = self._hooked[hook]
            del there[number]
            if not there:
                del self._hooked[hook]

    def matching(self, pod: PodLabels, namespaces: Namespaces) -> list[int]:
        """The numbers of the selectors that match a pod."""
        found = dict(self._loose)
        for key, value in pod.labels:
            for hook in ((pod.namespace, key, value), (pod.namespace, key, None), (ANY, key, value), (ANY, key, None)):
                found.update(self._hooked.get(hook, {}))
        return [number for number, selector in found.items() if selector.matches(pod, namespaces)]


def _hooks(selector: PodSelector) -> list[Hook] | None:
    """The fewest possible; None for a selector that has to be compared with every pod."""
    if any(part.requirements is None for part in selector.parts):
        return []
    found = [hooks for part in selector.parts for hooks in _part_hooks(part) if len(hooks) <= MAX_HOOKS]
    return min(found, key=len, default=None)


def _part_hooks(part: Part) -> Iterator[list[Hook]]:
    namespaces: Iterable[str] = part.namespaces if part.namespace_selector is None else (ANY,)
    for item in part.requirements or ():
        if item.operator == "In":
            yield [(namespace, item.key, value) for namespace, value in itertools.product(namespaces, set(item.values))]
        elif item.operator == "Exists":
            yield [(namespace, item.key, None) for namespace in namespaces]
