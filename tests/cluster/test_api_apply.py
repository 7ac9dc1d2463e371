"""Server-side apply: who owns which field, and what that means for everyone else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.client import SUPERSEDED
from controlplane.resources import Registry
from controlplane.resources.plugin import Attributes, BasePlugin
from controlplane.store import Tx
from pinnace import codec, errors, kinds
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


async def test_what_was_read_can_be_applied_again(api: Api) -> None:
    """With the resourceVersion and the uid in it; when the object has changed since, that is a conflict."""
    await api.apply(config(a="1"))
    printed = {"apiVersion": "v1", "kind": "ConfigMap", **codec.encode(await api.get(CONFIG, "settings"))}
    assert await applied(api, printed) == "unchanged"
    await api.apply(config(a="2"))
    error = await refused(api, printed)
    assert isinstance(error, errors.Conflict)
    assert "the object has been modified; please apply your changes to the latest version and try again" in error.message
    assert await data(api) == {"a": "2"}


async def test_what_was_read_of_a_deleted_object_makes_it_anew(api: Api) -> None:
    """As kubectl does; of one that another object has replaced, it is a conflict."""
    await api.apply(config(a="1"))
    printed = {"apiVersion": "v1", "kind": "ConfigMap", **codec.encode(await api.get(CONFIG, "settings"))}
    await api.delete(CONFIG, "settings")
    assert await applied(api, printed) == "created"
    made = await api.get(CONFIG, "settings")
    assert made.metadata.uid != printed["metadata"]["uid"]
    del printed["metadata"]["resourceVersion"]
    assert isinstance(await refused(api, printed), errors.Conflict)


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


@pytest.mark.parametrize("meta", [{}, {"name": ""}, {"generateName": "x-"}, {"name": 5}])
async def test_apply_needs_a_name(api: Api, meta: dict[str, Any]) -> None:
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


def with_container(**fields: Any) -> Any:
    return pod_manifest(containers=[{"name": "main", "image": "busybox", **fields}])


PORTS = [
    {"name": "a", "containerPort": 8080, "hostPort": 18443},
    {"name": "c", "containerPort": 8080, "protocol": "UDP"},
    {"name": "b", "containerPort": 8080, "hostPort": 18444},
]
ENV = [{"name": "A", "value": "first"}, {"name": "B", "value": "$(A)"}, {"name": "A", "value": "second"}]


@pytest.mark.parametrize("fields", [{"ports": PORTS}, {"env": ENV}, {"ports": PORTS, "env": ENV}], ids=["ports", "env", "both"])
async def test_items_that_share_a_key_are_unchanged_by_a_second_apply(api: Api, fields: Any) -> None:
    """Two host ports for one container port, two values for one variable: all are kept, in their order."""
    assert await applied(api, with_container(**fields)) == "created"
    made = await api.get(POD, "web")
    assert await applied(api, with_container(**fields)) == "unchanged"
    again = await api.get(POD, "web")
    assert again == made
    [container] = again.spec.containers
    assert [port.name for port in container.ports] == [port["name"] for port in fields.get("ports", ())]
    assert [(item.name, item.value) for item in container.env] == [
        (item["name"], item["value"]) for item in fields.get("env", ())
    ]


async def test_an_item_that_an_apply_no_longer_has_goes_as_a_whole(api: Api) -> None:
    """With its key and everything below it; what is below one that another manager shares goes alone."""
    owners = [{"apiVersion": "v1", "kind": "Pod", "name": f"p{n}", "uid": f"u{n}", "controller": n == 0} for n in range(9)]
    manifest = config(a="1")
    manifest["metadata"]["ownerReferences"] = owners
    await api.apply(manifest)
    manifest["metadata"]["ownerReferences"] = owners[:1]
    assert await applied(api, manifest) == "configured"
    kept = (await api.get(CONFIG, "settings")).metadata.ownerReferences
    assert [(item.uid, item.name) for item in kept] == [("u0", "p0")]


async def test_items_that_share_a_key_are_owned_as_one(api: Api, other: Api) -> None:
    """Another manager may say the same, but not something else."""
    await applied(api, with_container(ports=PORTS))
    ports = owners(await api.get(POD, "web"))["kctl/Apply"]["f:spec"]["f:containers"]['k:{"name":"main"}']["f:ports"]
    assert ports['k:{"containerPort":8080,"protocol":"TCP"}'] == {}
    assert "f:name" in ports['k:{"containerPort":8080,"protocol":"UDP"}']
    assert await applied(other, with_container(ports=PORTS)) == "unchanged"
    changed = [*PORTS[:2], {**PORTS[2], "hostPort": 18445}]
    conflict = await refused(other, with_container(ports=changed))
    assert isinstance(conflict, errors.Conflict)
    assert 'ports[containerPort=8080,protocol="TCP"]' in str(conflict)


ALIASES = [{"ip": "10.0.0.1", "hostnames": ["a"]}, {"ip": "10.0.0.2"}, {"ip": "10.0.0.1", "hostnames": ["b"]}]


async def owned(api: Api, *uids: str) -> Any:
    refs = [{"apiVersion": "v1", "kind": "Pod", "name": f"o{at}", "uid": uid} for at, uid in enumerate(uids)]
    manifest = config(a="1")
    manifest["metadata"]["ownerReferences"] = refs
    await applied(api, manifest)
    return [(ref.name, ref.uid) for ref in (await api.get(CONFIG, "settings")).metadata.ownerReferences]


async def test_namesakes_come_and_go_by_apply(api: Api) -> None:
    """One item becomes two of one key, two become one, and all of a key are removed."""
    assert await owned(api, "u", "v") == [("o0", "u"), ("o1", "v")]
    assert await owned(api, "u", "u", "v") == [("o0", "u"), ("o1", "u"), ("o2", "v")]
    assert await owned(api, "u", "v", "u") == [("o0", "u"), ("o1", "v"), ("o2", "u")]
    assert await owned(api, "u", "v") == [("o0", "u"), ("o1", "v")]
    assert await owned(api, "u", "u", "v") == [("o0", "u"), ("o1", "u"), ("o2", "v")]
    assert await owned(api, "v") == [("o0", "v")]


async def test_created_namesakes_are_unchanged_by_an_apply(api: Api, other: Api) -> None:
    """Whoever created them: the apply of the same words changes no field."""
    made = await api.create(POD, pod_manifest(hostAliases=ALIASES))
    assert await applied(other, pod_manifest(hostAliases=ALIASES)) == "unchanged"
    assert (await api.get(POD, made.metadata.name)).spec == made.spec


FAMILY = {"supersededManagers": ["kctl", "kctl-create", "kctl-patch"]}


async def test_apply_takes_what_other_commands_of_its_client_wrote(cluster: Cluster, api: Api) -> None:
    """A field written by create or patch is no conflict for an apply that supersedes them; it then belongs to the applier."""
    await Api(cluster, "kctl-create").create(CONFIG, config(a="1", b="1"))
    await Api(cluster, "kctl-patch").patch(CONFIG, "settings", "MERGE", {"data": {"b": "2"}})
    assert await applied(api, config(a="3", b="3"), **FAMILY) == "configured"
    assert await data(api) == {"a": "3", "b": "3"}
    assert owners(await api.get(CONFIG, "settings")) == {"kctl/Apply": {"f:data": {"f:a": {}, "f:b": {}}}}
    await applied(api, config(a="3"), **FAMILY)
    assert await data(api) == {"a": "3"}


async def test_apply_leaves_what_it_never_stated_to_the_other_commands(cluster: Cluster, api: Api) -> None:
    """As kubectl's apply after create: a field in no manifest that was applied stays, and stays theirs."""
    await Api(cluster, "kctl-create").create(CONFIG, config(a="1", b="1"))
    await Api(cluster, "kctl-patch").patch(CONFIG, "settings", "MERGE", {"data": {"c": "1"}})
    assert await applied(api, config(a="1"), **FAMILY) == "unchanged"
    assert await data(api) == {"a": "1", "b": "1", "c": "1"}
    assert owners(await api.get(CONFIG, "settings")) == {
        "kctl/Apply": {"f:data": {"f:a": {}}}, "kctl-create/Update": {"f:data": {"f:b": {}}},
        "kctl-patch/Update": {"f:data": {"f:c": {}}},
    }  # fmt: skip


async def test_managers_of_others_conflict_as_before(cluster: Cluster, api: Api, other: Api) -> None:
    """Also a superseded manager's name, when it is an applier; and an updater that is not superseded."""
    await other.create(CONFIG, config(a="1"))
    assert isinstance(await refused(api, config(a="2"), **FAMILY), errors.Conflict)
    await applied(Api(cluster, "kctl-patch"), config("second", a="1"))
    assert isinstance(await refused(api, config("second", a="2"), **FAMILY), errors.Conflict)


async def test_several_conflicts_are_listed_by_manager(cluster: Cluster, api: Api, other: Api) -> None:
    """As kube-apiserver lists them."""
    await applied(other, config(a="1", b="1"))
    await Api(cluster, "third").patch(CONFIG, "settings", "MERGE", {"data": {"c": "1"}})
    error = await refused(api, config(a="2", b="2", c="2"))
    assert error.message == (
        'Apply failed with 3 conflicts: conflicts with "other":\n- .data.a\n- .data.b\nconflicts with "third" using v1:\n- .data.c'
    )


async def test_an_update_takes_what_it_changes_and_what_it_removes_from_its_owners(cluster: Cluster, api: Api) -> None:
    """A removed field has no owner; a changed one has its writer alone."""
    await applied(api, config("settings", {"x": "1"}, a="1", b="1", c="1"))
    patch = Api(cluster, "patch")
    await patch.patch(CONFIG, "settings", "MERGE", {"data": {"b": None, "c": "2"}, "metadata": {"labels": None}})
    assert owners(await api.get(CONFIG, "settings")) == {
        "kctl/Apply": {"f:data": {"f:a": {}}}, "patch/Update": {"f:data": {"f:c": {}}},
    }  # fmt: skip
    await patch.patch(CONFIG, "settings", "MERGE", {"data": {"c": None}})
    assert owners(await api.get(CONFIG, "settings")) == {"kctl/Apply": {"f:data": {"f:a": {}}}}


async def test_a_removed_field_is_free_for_the_next_applier(cluster: Cluster, api: Api, other: Api) -> None:
    """Neither its former owner nor the one that removed it conflicts."""
    await applied(other, config(a="1", b="1"))
    await Api(cluster, "patch").patch(CONFIG, "settings", "JSON", [{"op": "remove", "path": "/data/b"}])
    assert await applied(api, config(b="2")) == "configured"
    await applied(other, config(a="1"))
    assert await data(api) == {"a": "1", "b": "2"}


async def test_a_zero_value_stays_owned_while_others_change_the_object(cluster: Cluster, api: Api, other: Api) -> None:
    """It is in no stored object, and yet the applier's."""
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "immutable": False}
    await applied(api, manifest)
    await other.patch(CONFIG, "settings", "MERGE", {"data": {"a": "1"}})
    assert owners(await api.get(CONFIG, "settings"))["kctl/Apply"] == {"f:immutable": {}}
    assert isinstance(await refused(other, {**manifest, "immutable": True}), errors.Conflict)


async def test_appliers_stand_before_updaters_in_the_order_of_time(cluster: Cluster) -> None:
    """As kube-apiserver sorts managedFields."""
    for name in ("z", "a"):
        await Api(cluster, name).apply(config("settings", **{name: "1"}))
        await cluster.clock.advance(1)
        await Api(cluster, f"{name}-patch").patch(CONFIG, "settings", "MERGE", {"data": {f"{name}p": "1"}})
        await cluster.clock.advance(1)
    entries = (await Api(cluster).get(CONFIG, "settings")).metadata.managedFields
    assert [entry.manager for entry in entries] == ["z", "a", "z-patch", "a-patch"]


async def test_superseded_managers_are_few_and_printable(api: Api) -> None:
    """What a request may bring is bounded, and there is room for all commands of kctl."""
    await api.apply(config(), supersededManagers=SUPERSEDED)
    for names in (["x"] * 33, ["x" * 129], ["a\nb"]):
        with pytest.raises(errors.BadRequest):
            await api.apply(config(), supersededManagers=names)


class Defective(BasePlugin):
    """Fails for one object as no plugin should."""

    name = "Defective"

    def admit(self, tx: Tx, request: Attributes) -> None:
        if request.message.metadata.name == "odd":
            raise ValueError("abc")


async def test_an_unexpected_error_fails_one_object(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Which has an InternalError without details; those before and after it are stored, and the log has the traceback."""
    registry = Registry.of(cluster.store)
    registry.plugins += (Defective(),)
    outcomes = await Api(cluster).apply(config("one", a="1"), config("odd", a="1"), config("two", a="1"))
    assert [outcome for outcome, _ in outcomes] == ["created", "failed", "created"]
    error = outcomes[1][1]
    assert (type(error), error.message) == (errors.Internal, "internal error in Apply: ValueError")
    [record] = [record for record in caplog.records if record.message.startswith("apply_failed")]
    assert record.exc_info
    caplog.clear()
