"""The groups that policies use, and the pods in them: kept incrementally, by indexes of labels.

Pods are known only in namespaces from which some group selects. Everything is read from rows as they are now, so that events
may come late, twice or not at all. Methods return, or pause with, the IDs of the groups that changed.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import DecodeError

from controlplane import podaddresses
from controlplane.dispatcher.policygroups import Facts, Group, facts_of
from controlplane.dispatcher.policyindex import GroupIndex, PodIndex
from controlplane.store import StoredObject
from pinnace import kinds
from pinnace.kinds import Kind
from pinnace.policypeers import PeerSelector
from pinnace.selectors import Requirement

log = logging.getLogger("pinnace.dispatcher")
# Pods and namespaces that are looked at between two pauses: about a millisecond.
STEP = 500
# The namespaces from which a group selects: one by name, or those whose labels meet the requirements.
Scope = str | tuple[Requirement, ...]


class PolicyRows(Protocol):
    def row(self, kind: Kind, key: str) -> StoredObject | None: ...

    def rows(self, kind: Kind, namespace: str = "") -> list[StoredObject]: ...


@dataclass(slots=True)
class _Namespace:
    """`labels`: None for a namespace that is not there. `scopes`: those in use that it meets. `pods`: members of groups, or
    pods that could be; None while it meets no scope; `is_loaded`: all of them."""

    labels: dict[str, str] | None = None
    scopes: dict[Scope, None] = field(default_factory=dict)
    pods: dict[str, Facts] | None = None
    is_loaded: bool = False
    index: PodIndex = field(default_factory=PodIndex)


class GroupTable:
    def __init__(self, rows: PolicyRows) -> None:
        self._rows = rows
        self._stamps = itertools.count(1)
        self._looks = 0
        self._groups: dict[str, Group] = {}
        self._scopes: dict[Scope, GroupIndex] = {}
        self._namespaces: dict[str, _Namespace] = {}

    def group(self, id: str) -> Group | None:
        return self._groups.get(id)

    def take_pod(self, key: str) -> set[str]:
        """The pod at `key` may have changed."""
        name = key.removeprefix(kinds.POD.prefix).partition("/")[0]
        namespace = self._namespaces.get(name)
        if namespace is None or namespace.pods is None:
            return set()
        return self._set_pod(namespace, key, self._facts(key))

    def _facts(self, key: str) -> Facts | None:
        """A pod that cannot be read is no member, and costs the policies nothing."""
        row = self._rows.row(kinds.POD, key)
        try:
            return self._checked(facts_of(row.message), row.message.spec.nodeName) if row is not None else None
        except DecodeError:
            log.warning("policy_pod_unreadable key=%s", key)
            return None

    def _checked(self, facts: Facts | None, node: str) -> Facts | None:
        """Without addresses that the pod cannot have on its node: rules would allow the traffic of another."""
        row = self._rows.row(kinds.NODE, kinds.NODE.key("", node)) if facts is not None and node else None
        if facts is None or row is None:
            return facts
        network = podaddresses.network_of(row.message)
        ips = tuple(ip for ip in facts.ips if network.holds(ip, host_network=False))
        return facts._replace(ips=ips) if ips else None

    def take_namespace(self, name: str) -> set[str]:
        """The namespace may have changed."""
        row = self._rows.row(kinds.NAMESPACE, kinds.NAMESPACE.key("", name))
        namespace = self._namespaces.setdefault(name, _Namespace())
        namespace.labels = dict(row.message.metadata.labels) if row is not None else None
        changed = set[str]()
        for scope in self._scopes:
            if isinstance(scope, tuple):
                changed |= self._meet(name, namespace, scope)
        self._tidy(name, namespace)
        return changed

    def catch_up_namespaces(self) -> Iterator[set[str]]:
        """After a time without events: read every namespace again."""
        present = [row.key.removeprefix(kinds.NAMESPACE.prefix) for row in self._rows.rows(kinds.NAMESPACE)]
        return (self.take_namespace(name) for name in dict.fromkeys((*present, *self._namespaces)))

    def catch_up_pods(self) -> Iterator[Iterator[set[str]]]:
        """After a time without events: what reads the pods of each namespace again."""
        for name, namespace in list(self._namespaces.items()):
            if namespace.pods is not None:
                yield self._take_pods(name, namespace)

    # Groups

    def use(self, id: str, selector: PeerSelector, policy: str, names: frozenset[str]) -> Iterator[set[str]]:
        group = self._groups.get(id)
        scope = _scope(selector)
        if group is None:
            group = self._groups[id] = Group(id, selector, lambda: next(self._stamps))
            self._scopes.setdefault(scope, GroupIndex()).add(id, selector)
        if group.use(policy, names):
            yield {id}
        # Of a group that another activation is filling, too: that one may be closed.
        if not group.is_filled:
            yield from self._fill(group, scope)
            group.is_filled = True

    def _fill(self, group: Group, scope: Scope) -> Iterator[set[str]]:
        """Add the pods that there are. Pods and namespaces that change meanwhile are added by their events."""
        if isinstance(scope, str):
            self._namespaces.setdefault(scope, _Namespace())
        for name in [scope] if isinstance(scope, str) else list(self._namespaces):
            namespace = self._namespaces.get(name)
            if namespace is not None and (isinstance(scope, str) or _meets(namespace, scope)):
                namespace.scopes[scope] = None
                yield from self._load(name, namespace)
                yield from self._fill_from(group, scope, namespace)
            if self._is_due():
                yield set()

    def _is_due(self) -> bool:
        """After each look at a pod or a namespace: whether it is time for a pause."""
        self._looks += 1
        return self._looks % STEP == 0

    def _fill_from(self, group: Group, scope: Scope, namespace: _Namespace) -> Iterator[set[str]]:
        """Ends early when the namespace meets the scope no longer; should it again, its event adds its pods."""
        pods = namespace.pods or {}
        found = namespace.index.candidates(group.selector)
        for key in list(pods) if found is None else found:
            if namespace.pods is not pods or scope not in namespace.scopes:
                return
            facts = pods.get(key)
            if facts is not None and group.selector.selects_labels(facts.labels):
                group.put(key, facts)
            if self._is_due():
                yield set()

    def _load(self, name: str, namespace: _Namespace) -> Iterator[set[str]]:
        """Know the pods of a namespace."""
        if not namespace.is_loaded:
            pods = namespace.pods = {} if namespace.pods is None else namespace.pods
            yield from self._take_pods(name, namespace)
            # Not if it was given up in between.
            namespace.is_loaded |= namespace.pods is pods

    def _take_pods(self, name: str, namespace: _Namespace) -> Iterator[set[str]]:
        """Every pod of a namespace, known or not."""
        rows = [row.key for row in self._rows.rows(kinds.POD, name)]
        changed = set[str]()
        for key in dict.fromkeys((*rows, *(namespace.pods or ()))):
            changed |= self.take_pod(key)
            if self._is_due():
                yield changed
                changed = set()
        if changed:
            yield changed

    def disuse(self, id: str, policy: str) -> set[str]:
        group = self._groups.get(id)
        if group is None:
            return set()
        changed = group.use(policy, None)
        if not group.is_unused:
            return {id} if changed else set()
        del self._groups[id]
        scope = _scope(group.selector)
        index = self._scopes[scope]
        index.remove(id, group.selector)
        if not len(index):
            del self._scopes[scope]
            for name in [scope] if isinstance(scope, str) else list(self._namespaces):
                namespace = self._namespaces.get(name)
                if namespace is not None and namespace.scopes.pop(scope, True) is None:
                    self._tidy(name, namespace)
        return set()

    # Namespaces and pods

    def _meet(self, name: str, namespace: _Namespace, scope: tuple[Requirement, ...]) -> set[str]:
        """The namespace meets a scope, or does not: its pods enter or leave the groups of the scope."""
        meets = _meets(namespace, scope)
        if meets == (scope in namespace.scopes):
            return set()
        if not meets:
            del namespace.scopes[scope]
            return self._leave(namespace, scope)
        namespace.scopes[scope] = None
        changed = set[str]().union(*self._load(name, namespace))
        for key, facts in (namespace.pods or {}).items():
            changed |= {id for id in self._selecting(scope, facts) if self._groups[id].put(key, facts)}
        return changed

    def _leave(self, namespace: _Namespace, scope: Scope) -> set[str]:
        found = ((key, id) for key, facts in (namespace.pods or {}).items() for id in self._selecting(scope, facts))
        return {id for key, id in found if self._groups[id].remove(key)}

    def _tidy(self, name: str, namespace: _Namespace) -> None:
        """Know no pods where no group selects any, and no namespace that is not there."""
        if namespace.scopes:
            return
        if namespace.pods is not None:
            namespace.pods, namespace.is_loaded, namespace.index = None, False, PodIndex()
        if namespace.labels is None:
            del self._namespaces[name]

    def _set_pod(self, namespace: _Namespace, key: str, facts: Facts | None) -> set[str]:
        pods = namespace.pods
        before = pods.get(key) if pods is not None else None
        if pods is None or facts == before:
            return set()
        if before is not None:
            namespace.index.remove(key, before.labels)
            del pods[key]
        if facts is not None:
            pods[key] = facts
            namespace.index.add(key, facts.labels)
        after = self._all_selecting(namespace, facts)
        left = {id for id in self._all_selecting(namespace, before) - after if self._groups[id].remove(key)}
        return left | {id for id in after if facts is not None and self._groups[id].put(key, facts)}

    def _all_selecting(self, namespace: _Namespace, facts: Facts | None) -> set[str]:
        return {id for scope in namespace.scopes for id in self._selecting(scope, facts)} if facts is not None else set()

    def _selecting(self, scope: Scope, facts: Facts) -> Iterator[str]:
        """IDs of the groups of a scope that select a pod in it."""
        for id in self._scopes[scope].candidates(facts.labels):
            if self._groups[id].selector.selects_labels(facts.labels):
                yield id


def _scope(selector: PeerSelector) -> Scope:
    return selector.namespace or selector.namespaces


def _meets(namespace: _Namespace, scope: tuple[Requirement, ...]) -> bool:
    labels = namespace.labels
    return labels is not None and all(requirement.matches(labels) for requirement in scope)
