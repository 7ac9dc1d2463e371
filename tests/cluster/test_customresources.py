"""Custom kinds through the API: they appear with their definition, behave like built-in kinds, and disappear with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane import resources
from controlplane.requests import verbs
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import codec, kinds
from pinnace.api.v1 import objects_pb2
from pinnace.clock import RandomIds, VirtualClock, settle
from pinnace.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, UnsupportedMediaType
from pinnace.messages import clone
from tests.support.api import Api
from tests.support.cluster import Cluster, running
from tests.support.customkinds import CRONTAB, GROUP, crontab, definition

CRD = kinds.CUSTOM_RESOURCE_DEFINITION
NAME = f"crontabs.{GROUP}"
MERGE, JSON_PATCH, STRATEGIC = "MERGE", "JSON", "STRATEGIC"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running() as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return Api(cluster)


async def define(api: Api, manifest: dict[str, Any] | None = None) -> Any:
    made = await api.create(CRD, manifest or definition())
    await settle(50)
    return made


def spec_of(item: Any) -> Any:
    return codec.encode(item).get("spec")


def conditions_of(item: Any) -> dict[str, str]:
    return {condition.type: condition.status for condition in item.status.conditions}


async def test_a_kind_is_served_once_its_definition_is_established(api: Api) -> None:
    """Before: no such kind. After: create, get, list and delete as for a built-in kind, with defaults."""
    with pytest.raises(NotFound):
        await api.create(CRONTAB, crontab())
    await define(api)
    assert conditions_of(await api.get(CRD, NAME)) == {"NamesAccepted": "True", "Established": "True"}
    made = await api.create(CRONTAB, crontab(image="cron:1", extra={"anything": [1, {"deep": True}]}))
    assert made.metadata.uid
    assert made.metadata.generation == 1
    got = await api.get(CRONTAB, "backup")
    assert spec_of(got) == {
        "cronSpec": "* * * * */5",
        "image": "cron:1",
        "replicas": 1,
        "extra": {"anything": [1, {"deep": True}]},
    }
    assert len((await api.list(CRONTAB)).items) == 1
    assert await api.delete(CRONTAB, "backup")
    with pytest.raises(NotFound):
        await api.get(CRONTAB, "backup")


async def test_an_object_that_breaks_the_schema_is_refused_with_every_error(api: Api) -> None:
    """The causes are kube-apiserver's, by path."""
    await define(api)
    with pytest.raises(Invalid) as error:
        await api.create(CRONTAB, crontab(replicas=11, color="green", cronSpec="never"))
    assert {cause.field for cause in error.value.causes} == {"spec.replicas", "spec.color", "spec.cronSpec"}
    with pytest.raises(Invalid, match=r"spec\.repicas: unknown field"):
        await api.create(CRONTAB, crontab(repicas=1))


@pytest.mark.parametrize("path", [".spec[", ".spec.a}{.b", ".a[x]", "spec", ".a} {range .b[*]}{.c}{end"])
async def test_a_printer_column_that_is_no_path_is_refused(api: Api, path: str) -> None:
    """With the definition: a client could show no object of the kind."""
    columns = [
        {"name": "Good", "type": "string", "jsonPath": ".spec.env[?(@.name=='A')].value"},
        {"name": "Bad", "type": "string", "jsonPath": path},
    ]
    with pytest.raises(Invalid, match=r"additionalPrinterColumns\[1\]\.jsonPath") as error:
        await api.create(CRD, definition(additionalPrinterColumns=columns))
    assert len(error.value.causes) == 1


async def test_a_definition_without_a_structural_schema_is_refused(api: Api) -> None:
    """The error names the keyword."""
    with pytest.raises(Invalid, match=r"spec.versions\[0\].schema.openAPIV3Schema.properties\[spec\].type: Required value"):
        await define(api, definition({"properties": {"a": {"type": "string"}}}))


async def test_updates_and_patches_of_a_custom_object(api: Api) -> None:
    """The generation counts changes of the spec; a strategic patch has no meaning here."""
    await define(api)
    made = await api.create(CRONTAB, crontab())
    await api.update(
        CRONTAB, {**crontab(replicas=3), "metadata": {"name": "backup", "resourceVersion": made.metadata.resourceVersion}}
    )
    with pytest.raises(Conflict):
        await api.update(
            CRONTAB, {**crontab(replicas=4), "metadata": {"name": "backup", "resourceVersion": made.metadata.resourceVersion}}
        )
    merged = await api.patch(CRONTAB, "backup", MERGE, {"spec": {"image": "x", "extra": {"k": 1}}})
    assert spec_of(merged)["image"] == "x"
    assert merged.metadata.generation == 3
    patched = await api.patch(CRONTAB, "backup", JSON_PATCH, [{"op": "remove", "path": "/spec/extra/k"}])
    assert spec_of(patched)["extra"] == {}
    with pytest.raises(UnsupportedMediaType, match="strategic merge patch is not supported for CronTab"):
        await api.patch(CRONTAB, "backup", STRATEGIC, {"spec": {}})
    with pytest.raises(Invalid, match=r"spec\.replicas"):
        await api.patch(CRONTAB, "backup", MERGE, {"spec": {"replicas": 99}})


async def test_the_status_is_written_by_its_subresource_alone(api: Api) -> None:
    """A create and an update leave it out; UpdateStatus leaves the rest as it is."""
    await define(api)
    assert not codec.encode(await api.create(CRONTAB, crontab(status={"replicas": 5}))).get("status")
    changed = await api.update_status(CRONTAB, crontab(status={"replicas": 2}, image="ignored"))
    assert codec.encode(changed)["status"] == {"replicas": 2}
    assert "image" not in spec_of(changed)
    assert changed.metadata.generation == 1
    kept = await api.update(CRONTAB, crontab(image="new", status={"replicas": 7}))
    assert codec.encode(kept)["status"] == {"replicas": 2}
    with pytest.raises(Invalid, match=r"status\.replicas"):
        await api.update_status(CRONTAB, crontab(status={"replicas": "many"}))


async def test_without_the_subresource_the_status_is_a_field_like_any_other(api: Api) -> None:
    """It is written with the object, and raises the generation."""
    await define(api, definition(status=False))
    assert codec.encode(await api.create(CRONTAB, crontab(status={"replicas": 5})))["status"] == {"replicas": 5}
    assert (await api.update(CRONTAB, crontab(status={"replicas": 6}))).metadata.generation == 2
    with pytest.raises(BadRequest, match="CronTab has no status"):
        await api.update_status(CRONTAB, crontab(status={"replicas": 2}))


async def test_watches_and_selectors_work_for_custom_kinds(api: Api) -> None:
    """Labels of every object, fields that the definition makes selectable."""
    await define(api, definition(selectableFields=[{"jsonPath": ".spec.color"}]))
    async with api.watch(CRONTAB) as watch:
        assert await watch.event()
        await api.create(CRONTAB, crontab("a", color="red", labels={"team": "x"}))
        await api.create(CRONTAB, crontab("b", color="blue"))
        assert [(await watch.event()).type, (await watch.event()).type] == [objects_pb2.WatchEvent.ADDED] * 2
        await api.delete(CRONTAB, "b")
        assert (await watch.event()).type == objects_pb2.WatchEvent.DELETED
    await api.create(CRONTAB, crontab("c", color="blue"))
    assert len((await api.list(CRONTAB, labelSelector="team=x")).items) == 1
    assert len((await api.list(CRONTAB, fieldSelector="spec.color=blue")).items) == 1
    with pytest.raises(BadRequest):
        await api.list(CRONTAB, fieldSelector="spec.image=x")


async def test_each_version_serves_the_same_objects(api: Api) -> None:
    """Conversion None: only apiVersion changes."""
    await define(api, definition(versions=("v1", "v1beta1")))
    older = kinds.Kind(f"{GROUP}/v1beta1", "CronTab", "crontabs", CRONTAB.cls)
    await api.create(older, crontab(version="v1beta1", image="x"))
    assert spec_of(await api.get(CRONTAB, "backup"))["image"] == "x"
    assert (await api.list(older)).items[0].apiVersion == f"{GROUP}/v1beta1"
    assert list((await api.get(CRD, NAME)).status.storedVersions) == ["v1"]
    async with api.watch(older) as watch:
        event = await watch.event()
        assert event.object.apiVersion == f"{GROUP}/v1beta1"


async def test_a_storage_version_that_is_not_served_only_stores(api: Api, cluster: Cluster) -> None:
    """No request may name it, from the beginning or later; the objects are those of the served version."""
    manifest = definition(versions=("v1", "v1beta1"))
    older = kinds.Kind(f"{GROUP}/v1beta1", "CronTab", "crontabs", CRONTAB.cls)
    for version, other in ((0, older), (1, CRONTAB)):
        for each in manifest["spec"]["versions"]:
            each["served"] = True
        manifest["spec"]["versions"][version]["served"] = False
        if version == 0:
            await define(api, manifest)
        else:
            manifest["metadata"]["finalizers"] = list((await api.get(CRD, NAME)).metadata.finalizers)
            await api.update(CRD, manifest)
            await settle(50)
        hidden = CRONTAB if other is older else older
        made = await api.create(other, crontab(f"x{version}", version=other.version))
        assert made.spec.raw
        assert len((await api.list(other)).items) == version + 1
        for call in (api.create(hidden, crontab("y", version=hidden.version)), api.list(hidden), api.get(hidden, "x0")):
            with pytest.raises(NotFound):
                await call
    assert not await api.delete(CRD, NAME)
    await cluster.advance(10)
    with pytest.raises(NotFound):
        await api.get(CRD, NAME)


async def test_a_changed_schema_applies_to_the_next_write(api: Api) -> None:
    """Fields that a later schema has no longer are removed from an object when it is written."""
    await define(api)
    await api.create(CRONTAB, crontab(image="x", color="red"))
    narrower = definition({"type": "object", "properties": {"cronSpec": {"type": "string"}, "color": {"type": "string"}}})
    await api.update(CRD, narrower)
    await settle(50)
    patched = await api.patch(CRONTAB, "backup", MERGE, {"spec": {"color": "green"}})
    assert spec_of(patched) == {"cronSpec": "* * * * */5", "color": "green"}


async def test_deleting_a_definition_deletes_its_objects_first(api: Api, cluster: Cluster) -> None:
    """The finalizer holds the definition while objects are left; meanwhile none can be created."""
    await define(api)
    await api.create(CRONTAB, {**crontab("kept"), "metadata": {"name": "kept", "finalizers": ["example.com/hold"]}})
    await api.create(CRONTAB, crontab("free"))
    assert not await api.delete(CRD, NAME)
    await settle(100)
    assert conditions_of(await api.get(CRD, NAME))["Terminating"] == "True"
    assert len((await api.list(CRONTAB)).items) == 1
    with pytest.raises(Forbidden, match="is terminating"):
        await api.create(CRONTAB, crontab("late"))
    await api.patch(CRONTAB, "kept", MERGE, {"metadata": {"finalizers": None}})
    await cluster.advance(30)
    with pytest.raises(NotFound):
        await api.get(CRD, NAME)
    with pytest.raises(NotFound):
        await api.list(CRONTAB)


async def test_a_write_of_a_kind_that_has_just_been_removed_is_refused(api: Api, cluster: Cluster) -> None:
    """The request found the kind before; without its definition nothing would check the object."""
    await define(api)
    kind = cluster.store.kinds.find(CRONTAB.api_version, "CronTab")
    made = await api.create(CRONTAB, crontab())
    call, other = verbs.Call(0.0, RandomIds()), clone(made)
    other.metadata.name, other.metadata.resourceVersion, other.spec.raw = "other", "", b'{"unknown":1}'
    changed = definition()
    changed["spec"]["names"]["shortNames"] = ["tab"]
    await api.update(CRD, changed)
    await settle(50)
    with pytest.raises(Conflict):
        await cluster.store.update(lambda tx: verbs.create(tx, kind, clone(other), call))
    await api.delete(CRD, NAME)
    await cluster.advance(10)
    writes = (verbs.create, verbs.update, verbs.update_status)
    for write in writes:
        with pytest.raises(NotFound):
            await cluster.store.update(lambda tx, write=write: write(tx, kind, clone(other), call))


async def test_a_definition_can_come_back_with_another_scope(api: Api, cluster: Cluster) -> None:
    """Nothing of the earlier one is left in the registry."""
    await define(api)
    await api.delete(CRD, NAME)
    await cluster.advance(10)
    await define(api, definition(scope="Cluster"))
    wide = kinds.Kind(f"{GROUP}/v1", "CronTab", "crontabs", CRONTAB.cls, namespaced=False)
    made = await api.create(wide, crontab())
    assert made.metadata.namespace == ""


async def test_deleting_a_namespace_deletes_its_custom_objects(api: Api, cluster: Cluster) -> None:
    """The namespace controller uses the registry."""
    await define(api)
    await api.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
    await api.create(CRONTAB, {**crontab(), "metadata": {"name": "backup", "namespace": "team"}})
    await api.delete(kinds.NAMESPACE, "team")
    await cluster.advance(10)
    assert not (await api.list(CRONTAB, ref=api.ref(CRONTAB, namespace="team"))).items


async def test_a_custom_object_with_a_finalizer_keeps_its_namespace(api: Api, cluster: Cluster) -> None:
    """The conditions name its kind."""
    await define(api)
    await api.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
    meta = {"name": "backup", "namespace": "team", "finalizers": ["example.com/hold"]}
    await api.create(CRONTAB, {**crontab(), "metadata": meta})
    await api.delete(kinds.NAMESPACE, "team")
    await cluster.advance(10)
    found = {item.type: item.message for item in cluster.get(kinds.NAMESPACE, "team").status.conditions}
    assert found["NamespaceContentRemaining"] == f"Some resources are remaining: {CRONTAB.resource} has 1 resource instances"
    assert found["NamespaceFinalizersRemaining"].endswith("remaining: example.com/hold in 1 resource instances")


async def test_garbage_collection_follows_custom_owners_and_dependents(api: Api, cluster: Cluster) -> None:
    """What a custom object owns goes with it, built-in or custom."""
    await define(api)
    owner = await api.create(CRONTAB, crontab("owner"))
    reference = {"apiVersion": CRONTAB.api_version, "kind": "CronTab", "name": "owner", "uid": owner.metadata.uid}
    await api.create(kinds.CONFIG_MAP, {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    await api.create(CRONTAB, {**crontab("child"), "metadata": {"name": "child", "ownerReferences": [reference]}})
    await cluster.advance(30)
    assert len((await api.list(CRONTAB)).items) == 2
    await api.delete(CRONTAB, "owner")
    await cluster.advance(60)
    assert not (await api.list(CRONTAB)).items
    assert "owned" not in cluster.names(kinds.CONFIG_MAP)


async def test_names_that_another_kind_has_are_not_accepted(api: Api) -> None:
    """The second definition says which name is taken, and serves nothing."""
    await define(api)
    await define(api, definition(plural="crontabs2", kind="CronTab", short_names=()))
    second = await api.get(CRD, f"crontabs2.{GROUP}")
    assert conditions_of(second) == {"NamesAccepted": "False", "Established": "False"}
    accepted = next(item for item in second.status.conditions if item.type == "NamesAccepted")
    assert accepted.reason == "KindConflict" or accepted.reason == "SingularConflict"
    assert "already in use" in accepted.message


async def test_of_two_definitions_at_once_one_gets_the_kind(api: Api) -> None:
    """Neither is served yet when the other is looked at."""
    await asyncio.gather(*(api.create(CRD, definition(plural=plural, short_names=())) for plural in ("alphas", "betas")))
    await settle(100)
    found = [conditions_of(await api.get(CRD, f"{plural}.{GROUP}")) for plural in ("alphas", "betas")]
    assert sorted(conditions["Established"] for conditions in found) == ["False", "True"]
    assert sorted(conditions["NamesAccepted"] for conditions in found) == ["False", "True"]


async def test_an_apply_creates_and_changes_custom_objects(api: Api) -> None:
    """Definition and object by apply."""
    assert (await api.apply(definition()))[0][0] == "created"
    await settle(50)
    assert (await api.apply(crontab(image="a")))[0][0] == "created"
    assert (await api.apply(crontab(image="a")))[0][0] == "unchanged"
    outcome, changed = (await api.apply(crontab(image="b")))[0]
    assert outcome == "configured"
    assert spec_of(changed)["image"] == "b"


async def test_an_apply_merges_along_the_schema(api: Api, cluster: Cluster) -> None:
    """Two managers own an item each of a keyed list; what one no longer applies is removed, and a shared field is a conflict."""
    await define(api)
    other = Api(cluster, "other")
    await api.apply(crontab(env=[{"name": "A", "value": "1"}], extra={"mine": 1}))
    await other.apply(crontab(env=[{"name": "B", "value": "2"}]))
    both = await api.get(CRONTAB, "backup")
    assert [item["name"] for item in spec_of(both)["env"]] == ["A", "B"]
    fields = {entry.manager: json.loads(entry.fieldsV1.Raw) for entry in both.metadata.managedFields}
    assert 'k:{"name":"B"}' in fields["other"]["f:spec"]["f:env"]
    outcome, error = (await other.apply(crontab(env=[{"name": "A", "value": "3"}])))[0]
    assert outcome == "failed"
    assert isinstance(error, Conflict)
    assert error.causes[0].field == '.spec.env[name="A"].value'
    await api.apply(crontab())
    left = spec_of(await api.get(CRONTAB, "backup"))
    assert left["env"] == [{"name": "B", "value": "2"}]
    assert "mine" not in left.get("extra", {})


async def test_rules_in_cel_are_checked_with_every_write(api: Api) -> None:
    """With the definition, on create, on update against the old object, and of the status."""
    rules = [
        {"rule": "!has(self.min) || self.min <= self.max", "message": "min is above max"},
        {"rule": "self.max >= oldSelf.max", "messageExpression": "'max may not shrink from %d'.format([oldSelf.max])"},
    ]
    spec = {
        "type": "object",
        "properties": {"cronSpec": {"type": "string"}, "min": {"type": "integer"}, "max": {"type": "integer"}},
    }
    with pytest.raises(Invalid, match=r"x-kubernetes-validations\[0\].rule: Invalid value.*undefined field 'mni'"):
        await define(api, definition({**spec, "x-kubernetes-validations": [{"rule": "self.mni > 0"}]}))
    await define(api, definition({**spec, "x-kubernetes-validations": rules}))
    with pytest.raises(Invalid, match='spec: Invalid value: "object": min is above max'):
        await api.create(CRONTAB, crontab(min=3, max=2))
    await api.create(CRONTAB, crontab(min=1, max=5))
    with pytest.raises(Invalid, match="max may not shrink from 5"):
        await api.update(CRONTAB, crontab(min=1, max=4))
    await api.patch(CRONTAB, "backup", MERGE, {"spec": {"max": 6}})
    await api.update_status(CRONTAB, crontab(status={"replicas": 1}))


async def test_values_of_another_form_than_the_schema_are_one_error(api: Api) -> None:
    """Applied, or stored before the schema changed: field ownership walks neither."""
    await define(api)
    await api.apply(crontab(env=[{"name": "A", "value": "1"}], extra={"a": 1}))
    for spec in ([], {"env": {"name": "A"}}, {"env": ["A"]}, {"extra": [1]}):
        outcome, error = (await api.apply({**crontab(), "spec": spec}))[0]
        assert (outcome, type(error)) == ("failed", Invalid)
    text = {
        "type": "object",
        "properties": {"env": {"type": "string"}, "extra": {"type": "array", "items": {"type": "object"}}},
    }
    await api.update(CRD, definition({"type": "object", "properties": {"cronSpec": {"type": "string"}, **text["properties"]}}))
    await settle(50)
    outcome, changed = (await api.apply({**crontab(), "spec": {"cronSpec": "x", "env": "A=1", "extra": [{}]}}, force=True))[0]
    assert outcome == "configured", changed
    assert spec_of(changed) == {"cronSpec": "x", "env": "A=1", "extra": [{}]}


async def test_custom_kinds_are_there_after_a_restart(cluster: Cluster, api: Api) -> None:
    """A second control plane reads definitions before objects, whatever their order in the store."""
    await define(api)
    await api.create(CRONTAB, crontab())
    second = await Store.open(cluster.store.backend, VirtualClock(), resources.built_in())
    kind = second.kinds.find(CRONTAB.api_version, "CronTab")
    assert [json.loads(row.message.spec.raw)["cronSpec"] for row in second.rows(kind)] == ["* * * * */5"]


async def test_another_control_plane_serves_a_kind_when_it_sees_the_definition() -> None:
    """On a shared store the kind is added before the first object that follows."""
    backend = MemoryBackend()
    async with running(backend=backend) as first:
        second = await Store.open(backend, VirtualClock(), resources.built_in())
        api = Api(first)
        await define(api)
        await api.create(CRONTAB, crontab())
        assert second.kinds is not first.store.kinds


async def test_a_value_of_hostile_depth_is_one_error(api: Api) -> None:
    """Also where the schema preserves unknown fields."""
    await define(api)
    deep: Any = {}
    for _ in range(400):
        deep = {"a": deep}
    with pytest.raises(Invalid, match="nested deeper"):
        await api.create(CRONTAB, crontab(extra=deep))


@pytest.fixture
def whole_schema() -> dict[str, Any]:
    """A definition without a status subresource, whose root preserves unknown fields."""
    manifest = definition(status=False)
    manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {
        "type": "object", "x-kubernetes-preserve-unknown-fields": True,
    }  # fmt: skip
    return manifest


async def test_a_second_apply_changes_fields_that_the_root_preserves(api: Api, whole_schema: dict[str, Any]) -> None:
    """The schema names no field at all, and status is no subresource."""
    await define(api, whole_schema)
    body = {**crontab(), "other": 1, "status": {"replicas": 1}}
    assert (await api.apply(body))[0][0] == "created"
    outcome, changed = (await api.apply({**body, "spec": {"a": 2}, "other": 2, "status": {"replicas": 2}}))[0]
    assert outcome == "configured"
    tree = codec.encode(changed)
    assert (tree["spec"], tree["other"], tree["status"]) == ({"a": 2}, 2, {"replicas": 2})


async def test_a_second_apply_refuses_a_field_that_the_schema_does_not_have(api: Api) -> None:
    """As the first one does."""
    await define(api)
    await api.apply(crontab())
    for body in (crontab(repicas=2), {**crontab(), "spce": {}}):
        outcome, error = (await api.apply(body))[0]
        assert (outcome, type(error)) == ("failed", Invalid)
        assert "unknown field" in str(error)


async def test_a_second_apply_changes_the_identity_of_an_embedded_object(api: Api) -> None:
    """Its schema names the spec alone."""
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True,
                "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}  # fmt: skip
    await define(api, definition({"type": "object", "properties": {"cronSpec": {"type": "string"}, "template": embedded}}))
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"a": "1"}}, "spec": {}}
    other = {"apiVersion": "v2", "kind": "Job", "metadata": {"name": "b", "labels": {"a": "2"}}, "spec": {}}
    await api.apply(crontab(template=one))
    outcome, changed = (await api.apply(crontab(template=other)))[0]
    assert outcome == "configured"
    assert spec_of(changed)["template"] == other


async def test_an_applied_status_without_a_subresource_is_a_field_like_any_other(api: Api) -> None:
    """It changes, has an owner, and goes when it is no longer applied."""
    await define(api, definition(status=False))
    await api.apply(crontab(status={"replicas": 1}))
    outcome, changed = (await api.apply(crontab(status={"replicas": 2})))[0]
    assert (outcome, codec.encode(changed)["status"]) == ("configured", {"replicas": 2})
    outcome, changed = (await api.apply(crontab()))[0]
    assert (outcome, "status" in codec.encode(changed)) == ("configured", False)
