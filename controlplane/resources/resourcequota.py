"""ResourceQuotas: what the objects of a namespace use together, charged in the transaction that creates or resizes an object.

For what clients create, `status.used` is never too low: a creation adds to it, in one transaction with the object. It may be
too high for a moment after a deletion, so that the objects are counted before one is refused; the `resourcequota` controller
counts again after deletions. A creation costs one quota written; at the bound it costs a look at each object of the namespace
too. Objects that the control plane itself writes (events, node leases, join tokens) are not refused; they are counted within
five minutes.

Source: the ResourceQuota admission plugin and kube-controller-manager's quota evaluators.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.plugin import CREATE, DELETE, UPDATE, Attributes, BasePlugin
from controlplane.resources.registry import Registry
from controlplane.resources.resource import QuotaScope, Resource, Usage
from controlplane.store import Tx
from pinnace import kinds, quantity
from pinnace.admission import resourcequotas
from pinnace.core.v1.resourcequota_pb2 import ResourceQuota
from pinnace.errors import Forbidden


def _cells(item: ResourceQuota, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, _enforced(item, limits=False), _enforced(item, limits=True), age(item, now)


def _enforced(item: ResourceQuota, *, limits: bool) -> str:
    """`pods: 1/10, requests.cpu: 500m/2`: what is used of the bounds on limits, or of the others."""
    hard, used = item.status.hard, item.status.used
    names = sorted(name for name in hard if name.startswith("limits.") is limits)
    return ", ".join(f"{name}: {used[name].string if name in used else '0'}/{hard[name].string}" for name in names)


_COLUMNS = (
    NAME,
    Column("Request", description="Used and allowed of requests, and of numbers of objects."),
    Column("Limit", description="Used and allowed of limits."),
    AGE,
)
RESOURCE_QUOTA = Resource(
    kinds.RESOURCE_QUOTA, rules=resourcequotas.RULES, columns=Columns(_COLUMNS, _cells), returns_deleted=True
)
# Kinds that may also be counted by their plural alone.
_PLAIN = frozenset(resourcequotas.COUNTED) - {"pods"}
# What ends the name of an amount of bytes.
_BYTES = ("memory", "ephemeral-storage", "storage")
# Quotas whose counts are remembered, the last ones that were counted.
MAX_KNOWN = 100


class ResourceQuotaPlugin(BasePlugin):
    """Refuses an object that would exceed a quota of its namespace, and charges one that does not."""

    name = "ResourceQuota"

    def __init__(self) -> None:
        self._counter = Counter()

    def validate(self, tx: Tx, request: Attributes) -> None:
        kind = request.resource.kind
        if kind.namespaced and (request.operation == CREATE or _may_need_more(request)):
            for found in tx.list(kinds.RESOURCE_QUOTA, request.message.metadata.namespace):
                _charge(tx, found, request, self._counter)
        if kind is kinds.RESOURCE_QUOTA and request.operation != DELETE:
            self._count_first(tx, request)

    def _count_first(self, tx: Tx, request: Attributes) -> None:
        """A quota is exact from its first moment, and itself an object of the namespace."""
        quota = request.message
        used = count_tracked(tx, quota, now=request.now)
        if request.operation == CREATE:
            for name, amount in usage(request.resource, quota, quota, now=request.now).items():
                used[name] += amount
        set_status(quota, used)

    def contended(self, tx: Tx, resource: Resource, namespace: str) -> str:
        quotas = resource.kind.namespaced and any(True for _ in tx.list_untracked(kinds.RESOURCE_QUOTA, namespace))
        return f"quotas of {namespace}" if quotas else ""


def _may_need_more(request: Attributes) -> bool:
    if request.operation != UPDATE:
        return False
    if not request.subresource:
        return request.resource.strategy.updates_use_quota
    part = request.resource.subresource(request.subresource)
    return part is not None and part.uses_quota


def _asked(request: Attributes, quota: ResourceQuota) -> dict[str, int]:
    """What the request needs of a quota: of an update, what it needs more than before."""
    asked = usage(request.resource, request.message, quota, now=request.now)
    if request.operation == UPDATE:
        before = usage(request.resource, request.old, quota, now=request.now)
        asked = {name: max(amount - before.get(name, 0), 0) for name, amount in asked.items()}
    return asked


def _charge(tx: Tx, stored: ResourceQuota, request: Attributes, counter: Counter) -> None:
    """Raises Forbidden."""
    resource, item = request.resource, request.message
    asked = _asked(request, stored)
    if missing := in_scopes(resource, item, stored) and resource.strategy.quota_missing(item, stored.spec.hard):
        raise _refused(resource, item, f"failed quota: {stored.metadata.name}: {missing}")
    if not any(asked.values()):
        return
    hard = _amounts(stored.spec.hard)
    used = _amounts(stored.status.used)
    if set(used) != set(hard) or _exceeded(hard, used, asked):
        used = counter.count(tx, stored, now=request.now)
    if names := _exceeded(hard, used, asked):
        shown = (_shown(amounts, names) for amounts in (asked, used, hard))
        text = "exceeded quota: {}, requested: {}, used: {}, limited: {}".format(stored.metadata.name, *shown)
        raise _refused(resource, item, text)
    charged = ResourceQuota()
    charged.CopyFrom(stored)
    set_status(charged, {name: min(used[name] + asked.get(name, 0), quantity.MAX) for name in hard})
    tx.put(kinds.RESOURCE_QUOTA, charged)


def _exceeded(hard: Usage, used: Usage, asked: Usage) -> list[str]:
    return sorted(name for name, amount in asked.items() if amount > 0 and used.get(name, 0) + amount > hard[name])


def usage(resource: Resource, item: Any, quota: ResourceQuota, *, now: float) -> dict[str, int]:
    """What an object uses of the bounds of a quota; nothing when the quota is not about it."""
    hard = quota.spec.hard
    found = {name: amount for name, amount in _every(resource, item, now) if name in hard}
    return found if found and in_scopes(resource, item, quota) else {}


def _every(resource: Resource, item: Any, now: float) -> Iterator[tuple[str, int]]:
    yield from ((name, 1) for name in _counts(resource))
    yield from resource.strategy.quota_usage(item, now).items()


def _counts(resource: Resource) -> tuple[str, ...]:
    """`count/leases.coordination.k8s.io`, and the older short names."""
    kind = resource.kind.storage
    counted = f"count/{kind.resource}"
    return (counted, kind.plural) if not kind.group and kind.plural in _PLAIN else (counted,)


def in_scopes(resource: Resource, item: Any, quota: ResourceQuota) -> bool:
    """Whether a quota is about an object."""
    return all(resource.strategy.in_quota_scope(item, scope) for scope in _scopes(quota))


def _scopes(quota: ResourceQuota) -> Iterator[QuotaScope]:
    for name in quota.spec.scopes:
        yield QuotaScope(name, "Exists", ())
    for item in quota.spec.scopeSelector.matchExpressions:
        yield QuotaScope(item.scopeName, item.operator, tuple(item.values))


class Counter:
    """Counts what the objects of a namespace use, and remembers it for each stored version of an object."""

    def __init__(self) -> None:
        # Version of the quota that was counted for, and (revision, usage) of each object, by the quota's UID.
        self._known: dict[str, tuple[int, dict[str, tuple[int, Usage]]]] = {}

    def count(self, tx: Tx, quota: ResourceQuota, *, now: float) -> dict[str, int]:
        """What is used of each bound now. Untracked: creations write the quota too, so that none is missed."""
        if tx.wrote:
            return count_tracked(tx, quota, now=now)
        version, known = self._known.get(quota.metadata.uid, (0, {}))
        if version != quota.metadata.generation:
            known = {}
        total, seen = dict.fromkeys(quota.spec.hard, 0), {}
        for resource in _counted(Registry.of(tx), quota):
            for row in tx.list_untracked(resource.kind, quota.metadata.namespace):
                found = known.get(row.key)
                if found is None or found[0] != row.revision:
                    found = row.revision, usage(resource, row.message, quota, now=now)
                # What is being deleted ends by time alone.
                if not row.message.metadata.deletionTimestamp.seconds:
                    seen[row.key] = found
                _add(total, found[1])
        self._known.pop(quota.metadata.uid, None)
        self._known[quota.metadata.uid] = quota.metadata.generation, seen
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return total


def count_tracked(tx: Tx, quota: ResourceQuota, *, now: float) -> dict[str, int]:
    """What is used of each bound, with what this transaction wrote. Later changes to the objects are conflicts."""
    total = dict.fromkeys(quota.spec.hard, 0)
    for resource in _counted(Registry.of(tx), quota):
        for item in tx.list(resource.kind, quota.metadata.namespace):
            _add(total, usage(resource, item, quota, now=now))
    return total


def _counted(registry: Registry, quota: ResourceQuota) -> Iterator[Resource]:
    """The resources whose objects a quota can be about."""
    for kind in registry:
        resource = registry.resource(kind)
        if kind.namespaced and any(name in _counts(resource) or resource.strategy.counts_for(name) for name in quota.spec.hard):
            yield resource


def _add(total: dict[str, int], more: Usage) -> None:
    for name, amount in more.items():
        total[name] = min(total[name] + amount, quantity.MAX)


def set_status(quota: Any, used: Mapping[str, int]) -> None:
    """Write what is enforced and used, where it is different."""
    status = type(quota.status)()
    for name, value in quota.spec.hard.items():
        status.hard[name].CopyFrom(value)
        status.used[name].string = _text(name, used[name])
    quota.status.CopyFrom(status)


def _is_cpu(name: str) -> bool:
    return name.rpartition(".")[2] == "cpu"


def _amounts(items: Mapping[str, Any]) -> dict[str, int]:
    return {name: quantity.milli(item.string) if _is_cpu(name) else quantity.units(item.string) for name, item in items.items()}


def _text(name: str, amount: int) -> str:
    if _is_cpu(name):
        return quantity.format_milli(amount)
    return quantity.format_bytes(amount) if name.rpartition(".")[2] in _BYTES else str(amount)


def _shown(amounts: Usage, names: Iterable[str]) -> str:
    return ",".join(f"{name}={_text(name, amounts[name])}" for name in names)


def _refused(resource: Resource, item: Any, why: str) -> Forbidden:
    name = (item.metadata.name or item.metadata.generateName)[:253]
    return Forbidden(f'{resource.kind.resource} "{name}" is forbidden: {why}', kind=resource.kind.resource, name=name)
