"""How many pods each ReplicaSet of a Deployment should have: pure arithmetic over their specs and statuses.

Functions return the wanted number of replicas by name of a ReplicaSet, for those that change. The bounds are those of
Kubernetes: never more than `replicas + maxSurge` pods are wanted, and a rolling update takes no available pod away while no
more than `replicas - maxUnavailable` are available.
Source: kube-controller-manager's deployment/rolling.go, sync.go and util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pinnace import intorpercent
from pinnace.admission.deployments import ROLLING_UPDATE
from pinnace.apps.v1.deployment_pb2 import Deployment
from pinnace.apps.v1.replicaset_pb2 import ReplicaSet

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"

Sizes = dict[str, int]


def max_surge(item: Deployment) -> int:
    return _bounds(item)[0]


def max_unavailable(item: Deployment) -> int:
    return min(_bounds(item)[1], item.spec.replicas) if item.spec.replicas else 0


def _bounds(item: Deployment) -> tuple[int, int]:
    """maxSurge and maxUnavailable as numbers, of which one is above 0; (0, 0) for Recreate."""
    if item.spec.strategy.type != ROLLING_UPDATE:
        return 0, 0
    bounds, replicas = item.spec.strategy.rollingUpdate, item.spec.replicas
    surge = intorpercent.scaled(bounds.maxSurge, replicas, round_up=True)
    unavailable = intorpercent.scaled(bounds.maxUnavailable, replicas, round_up=False)
    return surge, unavailable or (0 if surge else 1)


def wanted(sets: Iterable[ReplicaSet]) -> int:
    return sum(item.spec.replicas for item in sets)


def available(sets: Iterable[ReplicaSet]) -> int:
    return sum(item.status.availableReplicas for item in sets)


def active(sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Those that want pods."""
    return [item for item in sets if item.spec.replicas]


def new_size(item: Deployment, others: Sequence[ReplicaSet], current: int) -> int:
    """Replicas of the present template's ReplicaSet, which has `current`, next to the `others`."""
    if item.spec.strategy.type != ROLLING_UPDATE or current > item.spec.replicas:
        return item.spec.replicas
    room = item.spec.replicas + max_surge(item) - wanted(others) - current
    return current + max(min(room, item.spec.replicas - current), 0)


def scale_down(item: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> Sizes:
    """The next step down of the ReplicaSets of earlier templates: pods that are not available first."""
    sizes = {each.metadata.name: each.spec.replicas for each in old}
    least = item.spec.replicas - max_unavailable(item)
    waiting = new.spec.replicas - new.status.availableReplicas
    budget = wanted(old) + new.spec.replicas - least - waiting
    if budget <= 0 or not wanted(old):
        return {}
    by_age = sorted(old, key=_age)
    for each in by_age:
        name = each.metadata.name
        unhealthy = min(budget, max(sizes[name] - each.status.availableReplicas, 0))
        sizes[name] -= unhealthy
        budget -= unhealthy
    spare = max(available(old) + new.status.availableReplicas - least, 0)
    for each in by_age:
        taken = min(sizes[each.metadata.name], spare)
        sizes[each.metadata.name] -= taken
        spare -= taken
    return _changed(old, sizes)


def is_saturated(item: Deployment, new: ReplicaSet | None) -> bool:
    """Whether the present template has all pods, available, so that earlier ones need none."""
    if new is None or annotated(new, DESIRED) != item.spec.replicas:
        return False
    return new.spec.replicas == new.status.availableReplicas == item.spec.replicas


def is_scaled(item: Deployment, sets: Iterable[ReplicaSet]) -> bool:
    """Whether `replicas` was changed since the ReplicaSets were sized."""
    return any(annotated(each, DESIRED) not in (None, item.spec.replicas) for each in active(sets))


def scale(item: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> Sizes:
    """Sizes after `replicas` has changed, outside of the steps of a rollout: each ReplicaSet in proportion to what it has.

    In proportion, those that keep their size are in it too: they are sized for other bounds."""
    single = _single(new, old)
    if single is not None:
        return _changed([single], {single.metadata.name: item.spec.replicas})
    if is_saturated(item, new):
        return _changed(old, dict.fromkeys((each.metadata.name for each in old), 0))
    if item.spec.strategy.type != ROLLING_UPDATE:
        return {}
    return _in_proportion(item, active([*old, *([new] if new else [])]))


def _single(new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The only ReplicaSet with pods, or the latest one where none has any."""
    every = [*old, *([new] if new else [])]
    found = active(every)
    if len(found) > 1 or not every:
        return None
    return found[0] if found else (new or max(every, key=_age))


def _in_proportion(item: Deployment, sets: list[ReplicaSet]) -> Sizes:
    allowed = item.spec.replicas + max_surge(item) if item.spec.replicas else 0
    change, done = allowed - wanted(sets), 0
    # The largest first; of equal ones the newest grows, and the oldest shrinks.
    ordered = sorted(sorted(sets, key=_age, reverse=change > 0), key=lambda each: -each.spec.replicas)
    sizes = {each.metadata.name: each.spec.replicas for each in ordered}
    for each in ordered:
        share = _share(item, each)
        part = min(share, change - done) if change > 0 else max(share, change - done)
        sizes[each.metadata.name] += part
        done += part
    if ordered:
        largest = ordered[0].metadata.name
        sizes[largest] = max(sizes[largest] + change - done, 0)
    return sizes


def _share(item: Deployment, each: ReplicaSet) -> int:
    """By how much a ReplicaSet grows when all keep their proportions; below 0: shrinks."""
    if not item.spec.replicas:
        return -each.spec.replicas
    before = annotated(each, MAX_REPLICAS) or item.status.replicas
    if not before:
        return 0
    size = each.spec.replicas * (item.spec.replicas + max_surge(item))
    # Halves are rounded up, as Go does.
    return (2 * size + before) // (2 * before) - each.spec.replicas


def annotated(item: ReplicaSet, name: str) -> int | None:
    """The number in an annotation; None without one."""
    text = item.metadata.annotations.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _age(item: ReplicaSet) -> tuple[int, str]:
    return item.metadata.creationTimestamp.seconds, item.metadata.name


def _changed(sets: Iterable[ReplicaSet], sizes: Sizes) -> Sizes:
    return {each.metadata.name: sizes[each.metadata.name] for each in sets if sizes[each.metadata.name] != each.spec.replicas}
