"""Deletion as Kubernetes has it: what a DELETE writes, what an object that is being deleted accepts, and namespaces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.requests import verbs
from pinnace import errors, kinds
from tests.support.api import Api, config, pod_manifest
from tests.support.cluster import Cluster

CONFIG, POD, NAMESPACE = kinds.CONFIG_MAP, kinds.POD, kinds.NAMESPACE
HELD = {"finalizers": ["example.com/hold"]}


def held(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], **HELD}}


async def test_a_repeated_delete_writes_nothing(api: Api) -> None:
    """Neither of an object with finalizers nor of a pod that has its grace period."""
    await api.create(CONFIG, held(config()))
    await api.create(POD, pod_manifest(nodeName="n1"))
    for kind, name in ((CONFIG, "settings"), (POD, "web")):
        for how in ({}, {"gracePeriodSeconds": 45}):
            await api.delete(kind, name)
            before = (await api.get(kind, name)).metadata.resourceVersion
            assert await api.delete(kind, name, **how) is False
            assert (await api.get(kind, name)).metadata.resourceVersion == before


async def test_the_first_delete_is_a_new_generation(api: Api) -> None:
    """Of objects that have one; later ones are not."""
    await api.create(POD, held(pod_manifest(nodeName="n1")))
    for _ in range(2):
        await api.delete(POD, "web")
        assert (await api.get(POD, "web")).metadata.generation == 2
    await api.delete(POD, "web", gracePeriodSeconds=5)
    assert (await api.get(POD, "web")).metadata.generation == 2
    await api.create(CONFIG, held(config()))
    await api.delete(CONFIG, "settings")
    assert (await api.get(CONFIG, "settings")).metadata.generation == 0


async def test_a_shorter_grace_period_counts_from_the_first_request(cluster: Cluster, api: Api) -> None:
    """However late the second request comes."""
    began = int(cluster.clock.now())
    await api.create(POD, held(pod_manifest(nodeName="n1")))
    await api.delete(POD, "web", gracePeriodSeconds=60)
    await cluster.clock.advance(10)
    await api.delete(POD, "web", gracePeriodSeconds=20)
    meta = (await api.get(POD, "web")).metadata
    assert (meta.deletionTimestamp.seconds, meta.deletionGracePeriodSeconds) == (began + 20, 20)


@pytest.mark.parametrize("grace", [2**31, 2**62, 2**63 - 1])
async def test_an_absurd_grace_period_is_a_long_one(api: Api, grace: int) -> None:
    """Its end stays a date that can be written."""
    await api.create(POD, pod_manifest(nodeName="n1"))
    assert await api.delete(POD, "web", gracePeriodSeconds=grace) is False
    assert (await api.get(POD, "web")).metadata.deletionTimestamp.seconds < 253_402_300_800
    await api.create(POD, pod_manifest("slow", nodeName="n1", terminationGracePeriodSeconds=grace))
    assert await api.delete(POD, "slow") is False


async def test_no_finalizer_is_added_to_what_is_being_deleted(api: Api) -> None:
    """By no verb; finalizers can be removed."""
    await api.create(CONFIG, held(config()))
    await api.delete(CONFIG, "settings")
    both = {"finalizers": [*HELD["finalizers"], "example.com/late"]}
    stored = await api.get(CONFIG, "settings")
    stored.metadata.finalizers.append("example.com/late")
    with pytest.raises(errors.Invalid):
        await api.update(CONFIG, stored)
    with pytest.raises(errors.Invalid):
        await api.patch(CONFIG, "settings", "MERGE", {"metadata": both})
    [(outcome, error)] = await api.apply({**config(), "metadata": {"name": "settings", **both}})
    assert (outcome, type(error)) == ("failed", errors.Invalid)


async def test_a_pending_graceful_deletion_keeps_its_policy(api: Api) -> None:
    """A pod that is stopping does not become a foreground deletion."""
    await api.create(POD, pod_manifest(nodeName="n1"))
    await api.delete(POD, "web")
    await api.delete(POD, "web", propagationPolicy="Foreground")
    assert not (await api.get(POD, "web")).metadata.finalizers


async def terminating(cluster: Cluster, api: Api) -> Any:
    """A namespace that is being deleted and holds a ConfigMap that stays."""
    await api.create(NAMESPACE, {"metadata": {"name": "team"}})
    value = held(config())
    value["metadata"]["namespace"] = "team"
    await api.create(CONFIG, value)
    await api.delete(NAMESPACE, "team")
    await cluster.advance(2)
    return await api.get(NAMESPACE, "team")


async def test_no_client_takes_the_content_from_under_a_namespace(cluster: Cluster, api: Api) -> None:
    """PUT, the patches and apply leave spec.finalizers of a terminating namespace as they are."""
    stored = await terminating(cluster, api)
    stored.spec.ClearField("finalizers")
    await api.update(NAMESPACE, stored)
    for type_, patch in (
        ("MERGE", {"spec": {"finalizers": None}}),
        ("MERGE", {"spec": None}),
        ("STRATEGIC", {"spec": {"finalizers": []}}),
        ("JSON", [{"op": "remove", "path": "/spec/finalizers"}]),
    ):
        await api.patch(NAMESPACE, "team", type_, json.dumps(patch).encode())
    await api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}, "spec": {"finalizers": []}})
    await cluster.advance(10)
    assert (await api.get(NAMESPACE, "team")).spec.finalizers == ["kubernetes"]
    assert cluster.names(CONFIG, namespace="team") == ["settings"]
    await cluster.change(CONFIG, "settings", lambda item: item.metadata.ClearField("finalizers"), namespace="team")
    await cluster.advance(10)
    assert cluster.get(NAMESPACE, "team") is None


async def test_finalize_lets_a_namespace_go_once_it_is_empty(cluster: Cluster, api: Api) -> None:
    """And not before, whoever asks."""
    stored = await terminating(cluster, api)
    stored.spec.ClearField("finalizers")

    async def finalize() -> None:
        call = cluster.call()
        await cluster.store.update(lambda tx: verbs.update_subresource(tx, NAMESPACE, "finalize", _copy(stored), call))

    with pytest.raises(errors.Conflict):
        await finalize()
    assert (await api.get(NAMESPACE, "team")).spec.finalizers == ["kubernetes"]

    def empty(tx: Any) -> None:
        tx.delete(CONFIG, "team", "settings")
        stored.metadata.resourceVersion = ""
        verbs.update_subresource(tx, NAMESPACE, "finalize", _copy(stored), cluster.call())

    await cluster.store.update(empty)
    assert cluster.get(NAMESPACE, "team") is None


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
