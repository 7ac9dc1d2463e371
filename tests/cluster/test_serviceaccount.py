"""Service accounts, what pods get from them, and what each namespace has; pod templates."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.rootcapublisher import RootCAPublisher
from controlplane.controllers.runner import Moment
from controlplane.requests import verbs
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.errors import Forbidden
from pinnace.messages import clone
from tests.support import objects
from tests.support.api import Api, pod_manifest
from tests.support.cluster import Cluster


def secrets(pod: object) -> list[str]:
    return [item.name for item in pod.spec.imagePullSecrets]


async def test_a_pod_has_the_pull_secrets_of_its_account(api: Api) -> None:
    """Unless it names its own."""
    await api.patch(kinds.SERVICE_ACCOUNT, "default", "MERGE", {"imagePullSecrets": [{"name": "registry"}]})
    await api.create(
        kinds.SERVICE_ACCOUNT, {"metadata": {"name": "builder"}, "imagePullSecrets": [{"name": "a"}, {"name": "b"}]}
    )
    assert secrets(await api.create(kinds.POD, pod_manifest("a"))) == ["registry"]
    assert secrets(await api.create(kinds.POD, pod_manifest("b", serviceAccountName="builder"))) == ["a", "b"]
    assert secrets(await api.create(kinds.POD, pod_manifest("c", imagePullSecrets=[{"name": "own"}]))) == ["own"]


async def test_a_pod_is_of_an_account_that_exists(api: Api) -> None:
    """In Kubernetes' words; also by a dry run and an apply."""
    text = 'pods "d" is forbidden: error looking up service account default/none: serviceaccount "none" not found'
    for dry_run in (False, True):
        with pytest.raises(Forbidden) as refused:
            await api.create(kinds.POD, pod_manifest("d", serviceAccountName="none"), dry_run=dry_run)
        assert refused.value.message == text
    await api.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "none"}})
    await api.create(kinds.POD, pod_manifest("d", serviceAccountName="none"))


async def test_a_namespace_has_an_account_from_the_start(cluster: Cluster) -> None:
    """With its own first revision, of another UID in each namespace; a pod can be created at once."""
    for name in ("one", "two"):
        made = kinds.NAMESPACE.cls()
        made.metadata.name = name
        created = objects.pod("web", namespace=name)

        def both(tx: Tx, made: Any = made, created: Any = created) -> None:
            verbs.create(tx, kinds.NAMESPACE, clone(made), cluster.call())
            verbs.create(tx, kinds.POD, clone(created), cluster.call())

        await cluster.store.update(both)
    uids = {cluster.get(kinds.SERVICE_ACCOUNT, "default", namespace=name).metadata.uid for name in ("one", "two", "default")}
    assert len(uids) == 3
    assert all(uids)


async def test_the_account_default_comes_back(cluster: Cluster) -> None:
    """As another one, so that its old tokens do not; not while its namespace is being deleted."""
    before = cluster.get(kinds.SERVICE_ACCOUNT, "default")
    await cluster.delete(kinds.SERVICE_ACCOUNT, "default")
    after = cluster.get(kinds.SERVICE_ACCOUNT, "default")
    assert after.metadata.uid not in ("", before.metadata.uid)
    made = kinds.NAMESPACE.cls()
    made.metadata.name = "gone"
    await cluster.create(made)
    await cluster.delete(kinds.NAMESPACE, "gone")
    await cluster.advance(10)
    assert cluster.get(kinds.NAMESPACE, "gone") is None
    assert cluster.names(kinds.SERVICE_ACCOUNT, namespace="gone") == []


async def test_the_ca_is_published_in_each_namespace(cluster: Cluster) -> None:
    """And again when it is deleted or changed."""
    publisher, moment = RootCAPublisher(b"PEM"), Moment(cluster.clock.now(), 0.0)

    async def publish(namespace: str) -> dict[str, str]:
        await cluster.store.update(lambda tx: publisher.reconcile(tx, namespace, moment))
        return dict(cluster.get(kinds.CONFIG_MAP, "kube-root-ca.crt", namespace=namespace).data)

    assert await publish("default") == await publish("kube-system") == {"ca.crt": "PEM"}
    await cluster.change(kinds.CONFIG_MAP, "kube-root-ca.crt", lambda item: item.data.update({"ca.crt": "X", "other": "Y"}))
    revision = cluster.store.revision
    row = cluster.store.row(kinds.CONFIG_MAP, kinds.CONFIG_MAP.key("default", "kube-root-ca.crt"))
    assert row is not None
    view = cluster.store.view(lambda tx: list(publisher.keys(Event(None, row, revision), tx, 0.0)))
    assert view == ["default"]
    assert await publish("default") == {"ca.crt": "PEM"}
    revision = cluster.store.revision
    await publish("default")
    assert cluster.store.revision == revision


async def test_a_template_has_the_defaults_of_a_pod(api: Api) -> None:
    """But no tolerations: those are given to each pod that is made from it. A changed template is a new generation."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    made = await api.create(kinds.POD_TEMPLATE, {"metadata": {"name": "web"}, "template": template})
    spec = made.template.spec
    assert (spec.restartPolicy, spec.containers[0].imagePullPolicy, made.metadata.generation) == ("Always", "Always", 1)
    assert not spec.tolerations
    assert not spec.HasField("priority")
    patched = await api.patch(
        kinds.POD_TEMPLATE, "web", "STRATEGIC", {"template": {"spec": {"containers": [{"name": "main", "image": "b:2"}]}}}
    )
    assert (patched.template.spec.containers[0].image, patched.metadata.generation) == ("b:2", 2)
    labelled = await api.patch(kinds.POD_TEMPLATE, "web", "MERGE", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.metadata.generation == 2
