"""Server-side apply: who owns which field, and what that means for everyone else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinnace import errors, kinds
from tests.support.api import Api, config, pod_manifest
from tests.support.cluster import Cluster

CONFIG, POD = kinds.CONFIG_MAP, kinds.POD


@pytest.fixture
def other(cluster: Cluster) -> Api:
    """Another manager."""
    return Api(cluster, "other")


async def applied(api: Api, manifest: Any, **how: Any) -> str:
    [(outcome, _)] = await api.apply(manifest, **how)
    return outcome


async def refused(api: Api, manifest: Any, **how: Any) -> errors.ApiError:
    [(outcome, error)] = await api.apply(manifest, **how)
    assert outcome == "failed"
    return error  # type: ignore[no-any-return]


def owners(message: Any) -> dict[str, Any]:
    """manager/operation to its field set."""
    return {f"{entry.manager}/{entry.operation}": json.loads(entry.fieldsV1.Raw) for entry in message.metadata.managedFields}


async def data(api: Api) -> dict[str, str]:
    return dict((await api.get(CONFIG, "settings")).data)


async def test_apply_creates_changes_and_leaves_alone(api: Api) -> None:
    """created, configured, unchanged; the last writes nothing."""
    assert await applied(api, config(a="1")) == "created"
    assert await applied(api, config(a="2")) == "configured"
    version = (await api.get(CONFIG, "settings")).metadata.resourceVersion
    assert await applied(api, config(a="2")) == "unchanged"
    assert (await api.get(CONFIG, "settings")).metadata.resourceVersion == version


async def test_a_manifest_without_change_is_unchanged_after_defaulting(api: Api) -> None:
    """What the server filled in is no difference."""
    assert await applied(api, pod_manifest()) == "created"
    assert await applied(api, pod_manifest()) == "unchanged"


async def test_the_manager_owns_what_it_said_and_no_more(api: Api) -> None:
    """Not what defaulting added."""
    await api.apply(pod_manifest())
    mine = owners(await api.get(POD, "web"))["kctl/Apply"]
    assert mine == {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:name": {}, "f:image": {}}}}}


async def test_a_field_no_longer_applied_is_removed(api: Api) -> None:
    """Also a label, a list item, and a field back to its default."""
    await applied(api, config("settings", {"app": "web", "tier": "x"}, a="1", b="2"))
    assert await applied(api, config("settings", {"app": "web"}, a="1")) == "configured"
    found = await api.get(CONFIG, "settings")
    assert (dict(found.data), dict(found.metadata.labels)) == ({"a": "1"}, {"app": "web"})


async def test_what_others_set_is_left_alone(api: Api, other: Api) -> None:
    """Two managers of different fields never meet."""
    await applied(api, config(a="1"))
    assert await applied(other, config(b="2")) == "configured"
    assert await applied(api, config(a="3")) == "configured"
    assert await data(api) == {"a": "3", "b": "2"}
    assert await applied(other, config()) == "configured"
    assert await data(api) == {"a": "3"}


async def test_a_conflict_names_field_and_manager(api: Api, other: Api) -> None:
    """Nothing of the manifest is then taken."""
    await applied(api, config(a="1"))
    error = await refused(other, config(a="2", b="2"))
    assert isinstance(error, errors.Conflict)
    assert error.message == 'Apply failed with 1 conflict: conflict with "kctl": .data.a'
    assert [cause.field for cause in error.causes] == [".data.a"]
    assert await data(api) == {"a": "1"}


async def test_a_conflict_with_an_update_says_so(api: Api, other: Api) -> None:
    """Whoever edits by hand owns what was edited; its version is named as kubectl does."""
    await applied(api, config(a="1"))
    await other.update(CONFIG, config(a="2"))
    error = await refused(api, config(a="1"))
    assert error.message == 'Apply failed with 1 conflict: conflict with "other" using v1: .data.a'


async def test_two_managers_may_agree(api: Api, other: Api) -> None:
    """The same value is no conflict; the field stays until both have let go."""
    await applied(api, config(a="1"))
    assert await applied(other, config(a="1")) == "unchanged"
    await applied(api, config())
    assert await data(api) == {"a": "1"}
    await applied(other, config())
    assert await data(api) == {}


async def test_force_takes_a_field_over(api: Api, other: Api) -> None:
    """The former owner then conflicts."""
    await applied(api, config(a="1", b="1"))
    assert await applied(other, config(a="2"), force=True) == "configured"
    assert await data(api) == {"a": "2", "b": "1"}
    assert isinstance(await refused(api, config(a="1", b="1")), errors.Conflict)
    await applied(api, config(b="1"))
    assert await data(api) == {"a": "2", "b": "1"}


async def test_list_items_are_owned_by_key(api: Api, other: Api) -> None:
    """One manager's container image is another's conflict, by name."""
    await applied(api, pod_manifest(image="busybox:1"))
    error = await refused(other, pod_manifest(image="busybox:2"))
    assert error.causes[0].field == '.spec.containers[name="main"].image'
    assert await applied(api, pod_manifest(image="busybox:2")) == "configured"
    assert (await api.get(POD, "web")).metadata.generation == 2


async def test_set_members_are_owned_one_by_one(api: Api, other: Api) -> None:
    """Finalizers of two managers live side by side."""

    def holding(*names: str) -> Any:
        value = config()
        value["metadata"]["finalizers"] = [f"example.com/{name}" for name in names]
        return value

    await applied(api, holding("a"))
    await applied(other, holding("b"))
    await applied(api, holding())
    assert list((await api.get(CONFIG, "settings")).metadata.finalizers) == ["example.com/b"]


async def test_each_object_of_a_call_stands_for_itself(api: Api) -> None:
    """In order, so that a namespace comes before what is in it; a failure stops no other."""
    inside = config("inside")
    inside["metadata"]["namespace"] = "shop"
    results = await api.apply(
        inside, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, inside,
        {"apiVersion": "v9", "kind": "Widget"}, config("Bad Name"), config("last"),
    )  # fmt: skip
    assert [outcome for outcome, _ in results] == ["failed", "created", "created", "failed", "failed", "created"]
    assert [type(item) for outcome, item in results if outcome == "failed"] == [
        errors.NotFound, errors.NotFound, errors.Invalid,
    ]  # fmt: skip


@pytest.mark.parametrize("meta", [{}, {"name": ""}, {"generateName": "x-"}, {"name": "a", "resourceVersion": "4"}, {"name": 5}])
async def test_apply_needs_a_name_and_no_version(api: Api, meta: dict[str, Any]) -> None:
    """There is nothing to compare with otherwise."""
    error = await refused(api, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    assert isinstance(error, errors.Invalid | errors.BadRequest)


async def test_an_apply_never_touches_the_status(api: Api) -> None:
    """An exported manifest can be applied as it is."""
    assert await applied(api, {**pod_manifest(), "status": {"phase": "Running"}}) == "created"
    assert await applied(api, {**pod_manifest(), "status": {"phase": "Failed"}}) == "unchanged"
    assert (await api.get(POD, "web")).status.phase == "Pending"


async def test_many_updaters_do_not_cost_an_applier_its_fields(cluster: Cluster) -> None:
    """Only the oldest updaters are forgotten; what the applier drops is still removed."""
    first = Api(cluster, "a-first")
    await applied(first, config(mine="1", kept="1"))
    for number in range(12):
        await cluster.clock.advance(1)
        name = f"u{number:02}"
        await Api(cluster, name).patch(CONFIG, "settings", "MERGE", {"data": {name: "1"}})
    await cluster.clock.advance(1)
    await Api(cluster, "a-last").patch(CONFIG, "settings", "MERGE", {"data": {"last": "1"}})
    found = owners(await first.get(CONFIG, "settings"))
    assert len(found) == 11
    assert {"a-first/Apply", "a-last/Update", "u11/Update"} <= found.keys()
    assert "u00/Update" not in found
    await applied(first, config(kept="1"))
    assert "mine" not in await data(first)


async def test_the_time_of_an_entry_is_that_of_its_last_change(cluster: Cluster, api: Api, other: Api) -> None:
    """Others' writes do not move it."""
    await applied(api, config(a="1"))
    began = int(cluster.clock.now())
    await cluster.clock.advance(100)
    await applied(other, config(b="1"))
    times = {entry.manager: entry.time.seconds for entry in (await api.get(CONFIG, "settings")).metadata.managedFields}
    assert times == {"kctl": began, "other": began + 100}


async def test_an_overlong_or_unprintable_manager_is_refused(cluster: Cluster) -> None:
    """It ends up in every object it touches."""
    for name in ("x" * 129, "a\nb"):
        with pytest.raises(errors.BadRequest):
            await Api(cluster, name).apply(config())
