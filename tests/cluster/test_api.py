"""The verbs of the Objects service: create, get, update, status, delete, list."""

from __future__ import annotations

import pytest

from pinnace import errors, kinds
from tests.support.api import Api, config, opened, pod_manifest
from tests.support.cluster import Cluster

CONFIG, POD = kinds.CONFIG_MAP, kinds.POD


async def test_a_created_object_has_what_the_server_gives(cluster: Cluster, api: Api) -> None:
    """uid, version, time, generation, defaults; and can be read back as it was answered."""
    made = await api.create(POD, pod_manifest())
    meta = made.metadata
    assert (meta.namespace, meta.generation, meta.creationTimestamp.seconds) == ("default", 1, int(cluster.clock.now()))
    assert meta.uid
    assert int(meta.resourceVersion) > 0
    assert (made.status.phase, made.spec.restartPolicy, made.status.qosClass) == ("Pending", "Always", "BestEffort")
    assert opened((await api.list(POD)).items[0]).metadata.uid == meta.uid


async def test_a_client_cannot_choose_what_the_server_gives(api: Api) -> None:
    """uid, generation, deletion and status of a new object are dropped."""
    value = pod_manifest()
    value["metadata"] |= {"uid": "mine", "generation": 7, "deletionTimestamp": "2030-01-01T00:00:00Z"}
    made = await api.create(POD, {**value, "status": {"phase": "Running"}})
    assert made.metadata.uid != "mine"
    assert (made.metadata.generation, made.metadata.deletionTimestamp.seconds, made.status.phase) == (1, 0, "Pending")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"metadata": {"name": "taken"}}, errors.AlreadyExists),
        ({"metadata": {"name": "UPPER"}}, errors.Invalid),
        ({"metadata": {}}, errors.Invalid),
        ({"metadata": {"name": "a", "resourceVersion": "1"}}, errors.BadRequest),
        ({"metadata": {"name": "a", "namespace": "none"}}, errors.NotFound),
        ({"metadata": {"name": "a"}, "data": {"k": 1}}, errors.Invalid),
        ({"metadata": {"name": "a"}, "dota": {}}, errors.Invalid),
        ({"metadata": []}, errors.Invalid),
    ],
)
async def test_what_cannot_be_created_is_refused(api: Api, value: object, error: type[Exception]) -> None:
    """Each with its own class, and nothing is stored."""
    await api.create(CONFIG, config("taken"))
    with pytest.raises(error):
        await api.create(CONFIG, value)
    assert len((await api.list(CONFIG)).items) == 1


async def test_a_refusal_names_every_field_at_fault(api: Api) -> None:
    """So that one round is enough to mend them."""
    value = pod_manifest(restartPolicy="Sometimes", containers=[{"name": "main"}, {"name": "main", "image": "x"}])
    with pytest.raises(errors.Invalid) as caught:
        await api.create(POD, value)
    fields = {cause.field for cause in caught.value.causes}
    assert {"spec.restartPolicy", "spec.containers[1].name"} <= fields


async def test_generated_names_differ(api: Api) -> None:
    """The prefix, cut to leave room, and five characters."""
    value = {"metadata": {"generateName": "x" * 80}}
    names = {(await api.create(CONFIG, value)).metadata.name for _ in range(3)}
    assert len(names) == 3
    assert {len(name) for name in names} == {63}


async def test_an_unknown_kind_is_not_found(api: Api) -> None:
    """The answer lists those that are served."""
    with pytest.raises(errors.NotFound, match="v1/Pod"):
        await api.get(kinds.Kind("v1", "Widget", "widgets", kinds.POD.cls), "w")


async def test_what_is_not_there_is_not_found(api: Api) -> None:
    """Kubernetes' words."""
    with pytest.raises(errors.NotFound, match='configmaps "none" not found'):
        await api.get(CONFIG, "none")
    with pytest.raises(errors.NotFound):
        await api.update(CONFIG, config("none"))
    with pytest.raises(errors.NotFound):
        await api.delete(CONFIG, "none")


async def test_a_dry_run_says_what_would_be_and_stores_nothing(api: Api) -> None:
    """For create and update alike, refusals included."""
    assert (await api.create(CONFIG, config(a="1"), dry_run=True)).metadata.uid
    assert not (await api.list(CONFIG)).items
    await api.create(CONFIG, config(a="1"))
    assert (await api.update(CONFIG, config(a="2"), dry_run=True)).data["a"] == "2"
    assert (await api.get(CONFIG, "settings")).data["a"] == "1"
    with pytest.raises(errors.AlreadyExists):
        await api.create(CONFIG, config(), dry_run=True)
    assert [outcome for outcome, _ in await api.apply(config(a="3"), force=True, dryRun=True)] == ["configured"]
    assert (await api.get(CONFIG, "settings")).data["a"] == "1"


async def test_an_update_of_an_old_version_conflicts(api: Api) -> None:
    """Whoever read before the last write must read again; without a version the last one wins."""
    first = await api.create(CONFIG, config(a="1"))
    await api.update(CONFIG, config(a="2"))
    first.data["a"] = "3"
    with pytest.raises(errors.Conflict, match="the object has been modified"):
        await api.update(CONFIG, first)
    assert (await api.get(CONFIG, "settings")).data["a"] == "2"


async def test_an_update_of_an_earlier_object_conflicts(api: Api) -> None:
    """Another of the same name has taken its place."""
    first = await api.create(CONFIG, config())
    await api.delete(CONFIG, "settings")
    await api.create(CONFIG, config())
    first.metadata.resourceVersion = ""
    with pytest.raises(errors.Conflict, match="uid"):
        await api.update(CONFIG, first)


async def test_generation_counts_changes_of_the_spec(api: Api) -> None:
    """Not those of labels or status, nor updates that change nothing."""
    made = await api.create(POD, pod_manifest(image="busybox:1"))
    made.metadata.labels["a"] = "b"
    labelled = await api.update(POD, made)
    assert labelled.metadata.generation == 1
    labelled.spec.containers[0].image = "busybox:2"
    changed = await api.update(POD, labelled)
    assert changed.metadata.generation == 2
    assert (await api.update(POD, changed)).metadata.resourceVersion == changed.metadata.resourceVersion


async def test_status_and_spec_are_written_apart(api: Api) -> None:
    """Each of the two writes leaves the other half as it is, in either form."""
    made = await api.create(POD, pod_manifest(image="busybox:1"))
    made.status.phase = "Running"
    made.spec.containers[0].image = "busybox:2"
    made = await api.update_status(POD, made)
    assert (made.status.phase, made.spec.containers[0].image) == ("Running", "busybox:1")
    assert made.metadata.generation == 1
    manifest = {**pod_manifest(image="busybox:1"), "status": {"phase": "Failed"}}
    assert (await api.update_status(POD, manifest)).status.phase == "Failed"
    made.metadata.resourceVersion = ""
    made.spec.containers[0].image = "busybox:2"
    made.status.phase = "Succeeded"
    made = await api.update(POD, made)
    assert (made.status.phase, made.spec.containers[0].image) == ("Failed", "busybox:2")


async def test_a_kind_without_status_has_none_to_write(api: Api) -> None:
    """BadRequest, not silence."""
    await api.create(CONFIG, config())
    with pytest.raises(errors.BadRequest, match="has no status"):
        await api.update_status(CONFIG, config())


async def test_most_of_a_pods_spec_is_immutable(api: Api) -> None:
    """Kubernetes' list of what may change; nodeName is not on it."""
    made = await api.create(POD, pod_manifest())
    made.spec.nodeName = "n1"
    with pytest.raises(errors.Invalid, match="pod updates may not change fields"):
        await api.update(POD, made)


async def test_an_object_without_finalizers_is_gone_at_once(api: Api) -> None:
    """And cannot be deleted twice."""
    await api.create(CONFIG, config())
    assert await api.delete(CONFIG, "settings") is True
    with pytest.raises(errors.NotFound):
        await api.delete(CONFIG, "settings")


async def test_finalizers_hold_a_deleted_object(cluster: Cluster, api: Api) -> None:
    """Marked now, gone with the last finalizer; the mark cannot be taken back."""
    value = config()
    value["metadata"]["finalizers"] = ["example.com/a", "example.com/b"]
    await api.create(CONFIG, value)
    assert await api.delete(CONFIG, "settings") is False
    held = await api.get(CONFIG, "settings")
    assert held.metadata.deletionTimestamp.seconds == int(cluster.clock.now())
    held.metadata.ClearField("deletionTimestamp")
    held.metadata.finalizers.remove("example.com/a")
    held = await api.update(CONFIG, held)
    assert held.metadata.deletionTimestamp.seconds
    held.metadata.ClearField("finalizers")
    await api.update(CONFIG, held)
    with pytest.raises(errors.NotFound):
        await api.get(CONFIG, "settings")


async def test_a_bound_pod_has_its_grace(cluster: Cluster, api: Api) -> None:
    """Its own, or what the call says; later calls only shorten it; zero is at once."""
    now = int(cluster.clock.now())
    await api.create(POD, pod_manifest(nodeName="n1"))
    assert await api.delete(POD, "web", gracePeriodSeconds=60) is False
    assert (await api.get(POD, "web")).metadata.deletionTimestamp.seconds == now + 60
    assert await api.delete(POD, "web", gracePeriodSeconds=30) is False
    marked = await api.get(POD, "web")
    assert (marked.metadata.deletionTimestamp.seconds, marked.metadata.deletionGracePeriodSeconds) == (now + 30, 30)
    await api.delete(POD, "web", gracePeriodSeconds=90)
    assert (await api.get(POD, "web")).metadata.deletionTimestamp.seconds == now + 30
    assert await api.delete(POD, "web", gracePeriodSeconds=0) is True
    negative = await api.create(POD, pod_manifest("other", terminationGracePeriodSeconds=-5))
    assert negative.spec.terminationGracePeriodSeconds == 1


async def test_a_pod_that_runs_nowhere_needs_no_grace(api: Api) -> None:
    """Nobody has anything to stop."""
    await api.create(POD, pod_manifest())
    assert await api.delete(POD, "web") is True


async def test_deletion_can_be_conditional(api: Api) -> None:
    """On the uid and on the version."""
    made = await api.create(CONFIG, config())
    with pytest.raises(errors.Conflict):
        await api.delete(CONFIG, "settings", uid="another")
    with pytest.raises(errors.Conflict):
        await api.delete(CONFIG, "settings", resourceVersion="1")
    with pytest.raises(errors.BadRequest):
        await api.delete(CONFIG, "settings", propagationPolicy="Sideways")
    assert await api.delete(CONFIG, "settings", uid=made.metadata.uid, dryRun=True) is True
    assert await api.delete(CONFIG, "settings", uid=made.metadata.uid, resourceVersion=made.metadata.resourceVersion)


async def test_the_namespaces_of_the_cluster_stay(api: Api) -> None:
    """Others may go."""
    with pytest.raises(errors.Forbidden):
        await api.delete(kinds.NAMESPACE, "kube-system")
    assert await api.delete(kinds.NAMESPACE, "kube-public") is False


async def test_a_list_comes_in_pages_of_one_moment(api: Api) -> None:
    """What changes between two pages is not in the later one, and both name the same revision."""
    for name in "edcba":
        await api.create(CONFIG, config(name))
    first = await api.list(CONFIG, limit=2)
    await api.delete(CONFIG, "c")
    await api.create(CONFIG, config("cc"))
    second = await api.list(CONFIG, limit=2, continueToken=first.continueToken)
    last = await api.list(CONFIG, limit=2, continueToken=second.continueToken)
    pages = [[opened(item).metadata.name for item in page.items] for page in (first, second, last)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert (first.remainingItemCount, last.remainingItemCount, last.continueToken) == (3, 0, "")
    assert first.resourceVersion == last.resourceVersion


async def test_a_list_without_a_limit_comes_in_pages_of_bounded_size(cluster: Cluster, api: Api) -> None:
    """All of one revision, whatever is written between them."""
    for number in range(12):
        await api.create(CONFIG, config(f"c{number:02}", x="x" * 900_000))
    page = await api.list(CONFIG)
    revision, names = page.resourceVersion, [opened(item).metadata.name for item in page.items]
    while page.continueToken:
        assert page.ByteSize() < 5 << 20
        await api.update(CONFIG, config("c11", x=f"after {len(names)}"))
        page = await api.list(CONFIG, continueToken=page.continueToken)
        assert page.resourceVersion == revision
        names += [opened(item).metadata.name for item in page.items]
    assert names == [f"c{number:02}" for number in range(12)]


async def test_a_continue_token_belongs_to_its_kind(api: Api) -> None:
    """What is no token is refused."""
    for name in "ab":
        await api.create(CONFIG, config(name))
    token = (await api.list(CONFIG, limit=1)).continueToken
    with pytest.raises(errors.BadRequest):
        await api.list(POD, continueToken=token)
    with pytest.raises(errors.BadRequest):
        await api.list(CONFIG, continueToken="made-up")


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ({"labelSelector": "app=web"}, ["a", "b"]),
        ({"labelSelector": "app=web,tier!=back"}, ["a"]),
        ({"labelSelector": "app in (web, db),tier"}, ["b", "c"]),
        ({"labelSelector": "!app"}, ["d"]),
        ({"fieldSelector": "metadata.name=c"}, ["c"]),
        ({"fieldSelector": "metadata.name!=c", "labelSelector": "app"}, ["a", "b"]),
    ],
)
async def test_lists_are_selected(api: Api, selector: dict[str, str], names: list[str]) -> None:
    """By labels and by fields."""
    labels = {"a": {"app": "web"}, "b": {"app": "web", "tier": "back"}, "c": {"app": "db", "tier": "back"}, "d": {}}
    for name, own in labels.items():
        await api.create(CONFIG, config(name, own))
    assert [opened(item).metadata.name for item in (await api.list(CONFIG, **selector)).items] == names


@pytest.mark.parametrize("selector", [{"labelSelector": "a in (b"}, {"fieldSelector": "data.a=1"}])
async def test_a_bad_selector_is_refused(api: Api, selector: dict[str, str]) -> None:
    """A selector that selects everything by mistake could delete everything."""
    with pytest.raises(errors.BadRequest):
        await api.list(CONFIG, **selector)
