"""Resource quotas: enforced in the transaction that creates an object, exact whatever happens at the same time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from controlplane import resources
from controlplane.resources import Registry, Resource, Strategy
from controlplane.resources.resourcequota import Counter
from controlplane.rpc.objects import Objects
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import codec, errors, kinds
from pinnace.api.v1 import objects_pb2
from pinnace.clock import VirtualClock
from tests.support.api import Api, config, pod_manifest
from tests.support.cluster import Cluster
from tests.support.objects import config_map

POD, QUOTA, CONFIG = kinds.POD, kinds.RESOURCE_QUOTA, kinds.CONFIG_MAP


def quota(hard: dict[str, Any], name: str = "bounds", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard, **spec}}


def asking(
    name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    resources = {"requests": requests or {}, "limits": limits or {}}
    return pod_manifest(name, containers=[{"name": "main", "image": "busybox", "resources": resources}], **spec)


async def used(api: Api, name: str = "bounds") -> dict[str, str]:
    status = (await api.get(QUOTA, name)).status
    return {key: value.string for key, value in status.used.items()}


async def test_a_quota_counts_what_is_there_from_its_first_moment(api: Api) -> None:
    """Requests, limits, objects; itself too."""
    await api.create(POD, asking("a", {"cpu": "500m"}, {"memory": "1Gi"}))
    await api.create(CONFIG, config())
    hard = {"pods": "5", "requests.cpu": "2", "cpu": "2", "limits.memory": "4Gi", "requests.memory": "8Gi", "configmaps": "9",
            "count/configmaps": "9", "count/leases.coordination.k8s.io": "1", "resourcequotas": "2"}  # fmt: skip
    made = await api.create(QUOTA, quota(hard))
    assert {key: value.string for key, value in made.status.hard.items()} == hard
    assert await used(api) == {
        "pods": "1", "requests.cpu": "500m", "cpu": "500m", "limits.memory": "1Gi", "requests.memory": "1Gi", "configmaps": "1",
        "count/configmaps": "1", "count/leases.coordination.k8s.io": "0", "resourcequotas": "1",
    }  # fmt: skip


async def test_what_exceeds_a_quota_is_refused(api: Api) -> None:
    """With what was requested, used and limited, of the exceeded bounds alone."""
    await api.create(QUOTA, quota({"requests.cpu": "1", "requests.memory": "1Gi", "pods": "9"}))
    await api.create(POD, asking("a", {"cpu": "600m", "memory": "1Mi"}))
    with pytest.raises(errors.Forbidden) as caught:
        await api.create(POD, asking("b", {"cpu": "500m", "memory": "1Mi"}))
    assert caught.value.message == (
        'pods "b" is forbidden: exceeded quota: bounds, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1'
    )
    await api.create(POD, asking("c", {"cpu": "400m", "memory": "1Mi"}))
    assert await used(api) == {"requests.cpu": "1", "requests.memory": "2Mi", "pods": "2"}


async def test_containers_state_what_is_bounded(api: Api) -> None:
    """Of cpu and memory; init containers too."""
    await api.create(QUOTA, quota({"limits.cpu": "1", "requests.memory": "1Gi"}))
    with pytest.raises(
        errors.Forbidden, match=r"failed quota: bounds: must specify limits.cpu for: main; requests.memory for: main"
    ):
        await api.create(POD, pod_manifest())


async def test_every_kind_can_be_counted(api: Api) -> None:
    """A bound of zero forbids a kind."""
    await api.create(QUOTA, quota({"count/configmaps": "1", "secrets": "0", "count/serviceaccounts": "2"}))
    await api.create(CONFIG, config("a"))
    for kind, value in ((CONFIG, config("b")), (kinds.SECRET, {"metadata": {"name": "s"}})):
        with pytest.raises(errors.Forbidden, match=r"exceeded quota: bounds, requested: .*=1, used: "):
            await api.create(kind, value)
    assert await used(api) == {"count/configmaps": "1", "secrets": "0", "count/serviceaccounts": "1"}


async def test_usage_is_exact_under_concurrent_creations(api: Api) -> None:
    """Of 200 at once as many succeed as there is room for, and nothing else fails."""
    await api.create(QUOTA, quota({"pods": "60", "requests.cpu": "60"}))

    async def create(number: int) -> bool:
        try:
            await api.create(POD, asking(f"p{number}", {"cpu": "1"}))
        except errors.Forbidden:
            return False
        return True

    assert sum(await asyncio.gather(*(create(number) for number in range(200)))) == 60
    assert await used(api) == {"pods": "60", "requests.cpu": "60"}
    assert len((await api.list(POD)).items) == 60


async def test_room_that_a_deletion_makes_is_there_at_once(cluster: Cluster, api: Api) -> None:
    """Before anything has counted again."""
    await api.create(QUOTA, quota({"pods": "1"}))
    for name in "abc":
        await api.create(POD, pod_manifest(name))
        with pytest.raises(errors.Forbidden):
            await api.create(POD, pod_manifest("more"))
        await api.delete(POD, name)


async def test_a_pod_that_has_ended_uses_nothing(cluster: Cluster, api: Api) -> None:
    """Its object still counts as one."""
    await cluster.join("n1")
    await api.create(QUOTA, quota({"pods": "1", "count/pods": "5", "requests.cpu": "1"}))
    made = await api.create(POD, asking("a", {"cpu": "1"}))
    await cluster.advance(1, beating=("n1",))
    await cluster.report("n1", made, phase="Succeeded")
    await api.create(POD, asking("b", {"cpu": "1"}))
    assert await used(api) == {"pods": "1", "count/pods": "2", "requests.cpu": "1"}


async def test_a_refused_creation_and_a_dry_run_use_nothing(api: Api) -> None:
    """Whatever refuses it."""
    await api.create(QUOTA, quota({"configmaps": "5"}))
    await api.create(CONFIG, config())
    with pytest.raises(errors.AlreadyExists):
        await api.create(CONFIG, config())
    await api.create(CONFIG, config("dry"), dry_run=True)
    assert await used(api) == {"configmaps": "1"}


async def test_a_raised_quota_is_counted_again(api: Api) -> None:
    """By PUT, patch and apply; bounds may be added."""
    await api.create(QUOTA, quota({"pods": "1"}))
    await api.create(POD, pod_manifest("a"))
    await api.create(CONFIG, config())
    await api.apply(quota({"pods": "2", "configmaps": "3"}), force=True)
    assert await used(api) == {"pods": "1", "configmaps": "1"}
    await api.create(POD, pod_manifest("b"))


@pytest.mark.parametrize(
    ("spec", "counted"),
    [
        ({"scopes": ["BestEffort"]}, {"plain"}),
        ({"scopes": ["NotBestEffort"]}, {"asks", "ends", "important"}),
        ({"scopes": ["Terminating"]}, {"ends"}),
        ({"scopes": ["NotTerminating", "NotBestEffort"]}, {"asks", "important"}),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}}, {"important"}),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}, {"important"}),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}]}},
            {"plain", "asks", "ends"},
        ),
    ],
)  # fmt: skip
async def test_a_scope_selects_pods(api: Api, spec: dict[str, Any], counted: set[str]) -> None:
    """The others are created whatever the quota says."""
    await api.create(kinds.PRIORITY_CLASS, {"metadata": {"name": "high"}, "value": 5})
    await api.create(QUOTA, quota({"pods": "0"}, **spec))
    pods = {
        "plain": pod_manifest("plain"),
        "asks": asking("asks", {"cpu": "1"}),
        "ends": asking("ends", {"cpu": "1"}, activeDeadlineSeconds=60),
        "important": asking("important", {"cpu": "1"}, priorityClassName="high"),
    }
    refused = set()
    for name, value in pods.items():
        try:
            await api.create(POD, value)
        except errors.Forbidden:
            refused.add(name)
    assert refused == counted


async def test_absurd_amounts_saturate(api: Api) -> None:
    """Neither a pod nor a bound of 2^63 and more overflows."""
    await api.create(QUOTA, quota({"requests.memory": "100Ei", "requests.cpu": "1e300"}))
    for name in "ab":
        await api.create(POD, asking(name, {"memory": "1Ei", "cpu": "1e9"}))
    with pytest.raises(errors.Forbidden):
        await api.create(POD, asking("c", {"memory": "16Ei", "cpu": "1e300"}))


async def test_the_shown_usage_follows_deletions_and_ends(cluster: Cluster, api: Api) -> None:
    """Within seconds; an overdue pod within minutes."""
    await cluster.join("n1")
    await api.create(QUOTA, quota({"pods": "9", "configmaps": "9"}))
    await api.create(CONFIG, config())
    ended = await api.create(POD, pod_manifest("ended"))
    for name in ("gone", "lost"):
        await api.create(POD, pod_manifest(name))
    await cluster.advance(2, beating=("n1",))
    await api.delete(CONFIG, "settings")
    await cluster.report("n1", ended, phase="Failed")
    await api.delete(POD, "gone", gracePeriodSeconds=0)
    await cluster.advance(3, beating=("n1",))
    assert await used(api) == {"pods": "1", "configmaps": "0"}
    await api.delete(POD, "lost", gracePeriodSeconds=5)
    await cluster.advance(400, beating=("n1",))
    assert cluster.get(POD, "lost") is not None
    assert (await used(api))["pods"] == "0"


class Counting(Strategy[Any]):
    """Of a kind that is slow to count."""

    quota_resources = frozenset({"example.com/slow"})
    looks = 0

    def quota_usage(self, item: Any, now: float) -> dict[str, int]:
        self.looks += 1
        return {"example.com/slow": len(item.data)}


async def test_an_object_is_looked_at_once_for_each_of_its_versions() -> None:
    """So that a count costs little more than the change since the last one."""
    strategy, counter = Counting(), Counter()
    store = await Store.open(MemoryBackend(), VirtualClock(), Registry((Resource(CONFIG, strategy=strategy),)))
    serving = asyncio.ensure_future(store.serve())
    bounds = codec.decode(
        QUOTA.cls, {"metadata": {"name": "b", "namespace": "default", "uid": "u"}, "spec": {"hard": {"example.com/slow": "9"}}}
    )
    for name in "abc":
        await store.update(lambda tx: tx.put(CONFIG, config_map(name)))
    for looks in (3, 3):
        assert store.view(lambda tx: counter.count(tx, bounds, now=0.0)) == {"example.com/slow": 3}
        assert strategy.looks == looks
    await store.update(lambda tx: tx.put(CONFIG, config_map("b", {"x": "1", "y": "2"})))
    assert store.view(lambda tx: counter.count(tx, bounds, now=0.0)) == {"example.com/slow": 4}
    assert strategy.looks == 4
    serving.cancel()
    await asyncio.wait([serving])
    await store.close()


async def test_many_deletions_are_few_counts(cluster: Cluster, api: Api) -> None:
    """At most one a second, however many objects are deleted."""
    await api.create(QUOTA, quota({"configmaps": "500"}))
    for number in range(100):
        await api.create(CONFIG, config(f"c{number}"))
    await cluster.advance(3)
    _, watcher = cluster.store.view_and_watch(QUOTA)
    for number in range(100):
        await api.delete(CONFIG, f"c{number}")
    await cluster.advance(5)
    assert (await used(api)) == {"configmaps": "0"}
    assert len(await watcher.next()) <= 3
    watcher.close()


async def test_two_control_planes_never_exceed_a_quota_together(cluster: Cluster, api: Api) -> None:
    """Each has its own line of creations; the store decides between them."""
    await api.create(QUOTA, quota({"configmaps": "30"}))
    second = await Store.open(cluster.store.backend, cluster.clock, resources.built_in())
    serving = asyncio.ensure_future(second.serve())
    planes = [cluster.api, Objects(second, cluster.clock, cluster.ids)]

    async def create(number: int) -> bool:
        body = objects_pb2.Object(apiVersion="v1", kind="ConfigMap", json=json.dumps(config(f"c{number}")).encode())
        try:
            await planes[number % 2].Create(objects_pb2.WriteRequest(object=body), None)
        except errors.Forbidden:
            return False
        return True

    assert sum(await asyncio.gather(*(create(number) for number in range(80)))) == 30
    assert await used(api) == {"configmaps": "30"}
    assert len(cluster.names(CONFIG)) == 30
    serving.cancel()
    await asyncio.wait([serving])
