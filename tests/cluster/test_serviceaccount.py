"""Service accounts, what pods get from them, and what each namespace has; pod templates."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from controlplane.controllers.rootcapublisher import RootCAPublisher
from controlplane.controllers.runner import Moment
from controlplane.requests import verbs
from controlplane.resources.registry import Registry
from controlplane.resources.rootca import RootCA
from controlplane.store import Event, Tx
from pinnace import codec, kinds
from pinnace.core.v1.container_pb2 import Container, EphemeralContainerCommon
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import Forbidden
from pinnace.messages import clone
from pinnace.podresources import MIRROR
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


TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def volumes(found: Pod) -> list[str]:
    return [item.name for item in found.spec.volumes]


def mounts(container: Container) -> dict[str, str]:
    return {item.mountPath: item.name for item in container.volumeMounts}


async def test_a_pod_has_the_token_of_its_account(api: Api) -> None:
    """In each container and init container that has no mount there, as Kubernetes writes it; an apply changes nothing after."""
    own = {"name": "own", "image": "b", "volumeMounts": [{"name": "e", "mountPath": TOKEN_PATH}]}
    containers = [{"name": "main", "image": "b"}, own]
    manifest = pod_manifest(
        initContainers=[{"name": "init", "image": "b"}], containers=containers, volumes=[{"name": "e", "emptyDir": {}}]
    )
    made = await api.create(kinds.POD, manifest)
    name = volumes(made)[1]
    assert volumes(made)[0] == "e"
    assert re.fullmatch("kube-api-access-[a-z0-9]{5}", name)
    shown = [mounts(item) for item in (*made.spec.initContainers, *made.spec.containers)]
    assert shown == [{TOKEN_PATH: name}, {TOKEN_PATH: name}, {TOKEN_PATH: "e"}]
    assert made.spec.containers[0].volumeMounts[0].readOnly
    assert codec.encode(made.spec.volumes[1].volumeSource.projected) == {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
                }
            },
        ],
    }
    assert [outcome for outcome, _ in await api.apply({"apiVersion": "v1", "kind": "Pod", **manifest})] == ["unchanged"]


async def test_what_admission_adds_has_no_owner(api: Api) -> None:
    """So an apply of what the creator wrote, under the creator's name, does not remove it, as by a Helm that changes over."""
    made = await api.create(kinds.POD, pod_manifest())
    [creator] = made.metadata.managedFields
    owned = json.loads(creator.fieldsV1.Raw)["f:spec"]
    assert "f:volumes" not in owned
    assert not any("f:volumeMounts" in item for item in owned["f:containers"].values())
    owners = [{**codec.encode(creator), "operation": "Apply"}]
    await api.patch(kinds.POD, "web", "MERGE", {"metadata": {"managedFields": owners}})
    manifest = {"apiVersion": "v1", "kind": "Pod", **pod_manifest()}
    manifest["metadata"]["labels"] = {"a": "b"}
    [(_, applied)] = await api.apply(manifest)
    assert volumes(applied) == volumes(made) != []


async def test_pods_of_one_account_have_equal_specs(api: Api) -> None:
    """Admission remembers a spec: the added volume has one name for all pods of the account."""
    made = [await api.create(kinds.POD, pod_manifest(name)) for name in ("one", "two")]
    assert volumes(made[0]) == volumes(made[1]) != []
    await api.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "other"}})
    assert volumes(await api.create(kinds.POD, pod_manifest("three", serviceAccountName="other"))) != volumes(made[0])


async def test_a_token_is_mounted_unless_pod_or_account_say_otherwise(api: Api) -> None:
    """The pod decides, and where it does not, its account."""
    for name, value in (("bare", False), ("armed", True)):
        await api.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": name}, "automountServiceAccountToken": value})
    for number, (account, pod, mounted) in enumerate(
        (
            ("default", None, True),
            ("default", False, False),
            ("armed", None, True),
            ("armed", False, False),
            ("bare", None, False),
            ("bare", True, True),
        )
    ):
        said = {} if pod is None else {"automountServiceAccountToken": pod}
        made = await api.create(kinds.POD, pod_manifest(f"p{number}", serviceAccountName=account, **said))
        assert bool(made.spec.volumes) == bool(made.spec.containers[0].volumeMounts) == mounted


async def test_a_volume_of_that_name_is_taken(api: Api) -> None:
    """A pod that is made from what was read of another keeps the volume; one whose containers need none gets none."""
    volume = {"name": "kube-api-access-mine", "emptyDir": {}}
    made = await api.create(kinds.POD, pod_manifest("a", volumes=[volume]))
    assert volumes(made) == ["kube-api-access-mine"]
    assert mounts(made.spec.containers[0]) == {TOKEN_PATH: "kube-api-access-mine"}
    mount = {"name": "e", "mountPath": TOKEN_PATH}
    container = {"name": "main", "image": "b", "volumeMounts": [mount]}
    made = await api.create(kinds.POD, pod_manifest("b", containers=[container], volumes=[{"name": "e", "emptyDir": {}}]))
    assert volumes(made) == ["e"]


async def test_a_mirror_pod_and_an_ephemeral_container_get_no_token(cluster: Cluster, api: Api) -> None:
    mirror = objects.pod("static")
    mirror.metadata.annotations[MIRROR], mirror.spec.nodeName = "x", "n1"
    await cluster.create(mirror)
    assert not cluster.get(kinds.POD, "static").spec.volumes
    made = await api.create(kinds.POD, pod_manifest("web"))
    made.spec.ephemeralContainers.add().ephemeralContainerCommon.MergeFrom(
        EphemeralContainerCommon(name="debug", image="b", imagePullPolicy="Always")
    )
    call, stored = cluster.call(), clone(made)
    await cluster.store.update(lambda tx: verbs.update_subresource(tx, kinds.POD, "ephemeralcontainers", clone(stored), call))
    added = cluster.get(kinds.POD, "web").spec.ephemeralContainers[0].ephemeralContainerCommon
    assert not added.volumeMounts


async def test_a_namespace_has_the_ca_from_the_start(cluster: Cluster) -> None:
    """A pod in it waits for no controller."""
    registry = Registry.of(cluster.store)
    registry.plugins += (RootCA(b"PEM"),)
    made = kinds.NAMESPACE.cls()
    made.metadata.name = "fresh"
    await cluster.create(made)
    found = cluster.get(kinds.CONFIG_MAP, "kube-root-ca.crt", namespace="fresh")
    assert (dict(found.data), bool(found.metadata.uid)) == ({"ca.crt": "PEM"}, True)


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
