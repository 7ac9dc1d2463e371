"""Objects that were stored under another schema: what readers see of them, and when their stored form changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.store import StoredObject
from pinnace import codec, kinds
from pinnace.clock import settle
from pinnace.kinds import Kind
from tests.support.api import Api, opened
from tests.support.cluster import Cluster, running
from tests.support.customkinds import CRON_SPEC, CRONTAB, GROUP, crontab, definition
from tests.support.rest import Rest
from tests.unit.controlplane.customresources.test_schemafields import ACCEPTED

CRD = kinds.CUSTOM_RESOURCE_DEFINITION
NAME = f"crontabs.{GROUP}"
OTHER = kinds.Kind(f"{GROUP}/v1beta1", "CronTab", "crontabs", CRONTAB.cls)
# Without `image` and `replicas`, with a default that the first schema does not have.
LATER = {"type": "object", "properties": {
    "cronSpec": {"type": "string"}, "color": {"type": "string", "default": "red"},
    "window": {"type": "object", "default": {}, "properties": {"minutes": {"type": "integer", "default": 5}}}}}  # fmt: skip
SEEN = {"cronSpec": "* * * * */5", "color": "red", "window": {"minutes": 5}}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running() as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return Api(cluster)


def spec_of(item: Any) -> Any:
    return codec.encode(item).get("spec")


def row(cluster: Cluster, name: str = "backup") -> StoredObject:
    [found] = [item for item in cluster.store.rows(CRONTAB) if item.key.endswith(f"/{name}")]
    return found


async def define(api: Api, manifest: dict[str, Any], *, anew: bool = True) -> None:
    await (api.create(CRD, manifest) if anew else api.update(CRD, manifest))
    await settle(50)


async def changed(api: Api, spec: dict[str, Any] = LATER, **how: Any) -> None:
    """The definition with another schema, after an object was stored under the first."""
    await define(api, definition(**how))
    await api.create(CRONTAB, crontab(image="x"))
    await define(api, definition(spec, **how), anew=False)


async def test_every_reader_sees_an_object_along_the_present_schema(api: Api) -> None:
    """Get, List, and a watch that begins: pruned, and with defaults, nested ones too. The object's version stays."""
    await define(api, definition())
    made = await api.create(CRONTAB, crontab(image="x"))
    await define(api, definition(LATER), anew=False)
    got = await api.get(CRONTAB, "backup")
    [listed] = (await api.list(CRONTAB)).items
    async with api.watch(CRONTAB) as watch:
        watched = opened((await watch.event()).object)
    assert [spec_of(got), spec_of(opened(listed)), spec_of(watched)] == [SEEN] * 3
    assert {item.metadata.resourceVersion for item in (got, opened(listed), watched)} == {made.metadata.resourceVersion}


async def test_events_of_a_running_watch_are_told_along_the_present_schema(api: Api) -> None:
    """Also the deletion of an object that nothing has written since."""
    await define(api, definition())
    await api.create(CRONTAB, crontab(image="x"))
    async with api.watch(CRONTAB) as watch:
        assert spec_of(opened((await watch.event()).object))["image"] == "x"
        await define(api, definition(LATER), anew=False)
        await api.delete(CRONTAB, "backup")
        assert (await watch.next())[0] == "BOOKMARK"
        assert spec_of(opened((await watch.event()).object)) == SEEN


async def test_the_rest_api_shows_objects_along_the_present_schema(api: Api, cluster: Cluster) -> None:
    """Its JSON of an object is kept, and made anew with the schema; each version shows its own fields."""
    rest, path = Rest(cluster), f"/apis/{GROUP}/v1/namespaces/default/crontabs"
    await define(api, two_versions(CRON_SPEC))
    await api.create(CRONTAB, crontab(image="x"))
    assert (await rest.get(path))["items"][0]["spec"]["image"] == "x"
    await define(api, two_versions({"type": "object", "properties": {"color": {"type": "string"}}}, LATER), anew=False)
    assert [(await rest.get(path))["items"][0]["spec"], (await rest.get(f"{path}/backup"))["spec"]] == [SEEN] * 2
    assert (await rest.get(path.replace("v1", "v1beta1")))["items"][0]["spec"] == {"color": "red"}


async def test_a_field_selector_sees_defaults(api: Api) -> None:
    """The object never stated the field."""
    await changed(api, selectableFields=[{"jsonPath": ".spec.color"}])
    assert len((await api.list(CRONTAB, fieldSelector="spec.color=red")).items) == 1
    assert not (await api.list(CRONTAB, fieldSelector="spec.color=")).items


async def test_reading_writes_nothing_and_an_update_without_a_change_writes_once(api: Api, cluster: Cluster) -> None:
    """As in Kubernetes, where such an update is how objects are brought to a new schema. It is no new generation."""
    await changed(api)
    before = row(cluster)
    got = await api.get(CRONTAB, "backup")
    assert row(cluster) is before
    assert b'"image"' in before.value
    written = await api.update(CRONTAB, got)
    assert int(written.metadata.resourceVersion) > before.revision
    assert written.metadata.generation == got.metadata.generation
    assert b'"image"' not in row(cluster).value
    assert b'"window"' in row(cluster).value
    again = await api.update(CRONTAB, written)
    assert again.metadata.resourceVersion == written.metadata.resourceVersion


@pytest.mark.parametrize("verb", ["apply", "status"])
async def test_other_writes_without_a_change_bring_an_object_to_the_schema_too(api: Api, cluster: Cluster, verb: str) -> None:
    """Once."""
    await define(api, definition())
    manifest = {"cronSpec": "* * * * */5"}
    await api.apply({**crontab(), "spec": manifest})
    await define(api, definition(LATER), anew=False)
    for at in range(2):
        before = row(cluster).revision
        if verb == "apply":
            [(outcome, _)] = await api.apply({**crontab(), "spec": manifest})
            assert outcome == "unchanged"
        else:
            await api.update_status(CRONTAB, await api.get(CRONTAB, "backup"))
        assert (row(cluster).revision > before) == (at == 0)
    assert b'"window"' in row(cluster).value


async def test_an_object_that_fits_is_not_copied(api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What readers get is the stored value itself, and it is compared with a schema once."""
    await define(api, definition(LATER))
    await api.create(CRONTAB, crontab())
    stored, schema = row(cluster), row(cluster).kind.schema
    assert schema is not None
    assert schema.reader is not None
    calls, reader = [], schema.reader
    monkeypatch.setattr(schema, "reader", lambda value: calls.append(value) or reader(value))
    assert stored.content() is stored.value
    for _ in range(3):
        await api.list(CRONTAB)
        await api.get(CRONTAB, "backup")
    assert len(calls) == 1


async def test_a_parsed_object_is_forgotten_with_its_schema(api: Api, cluster: Cluster) -> None:
    """Components share it, and it would show the earlier one."""
    await define(api, definition())
    await api.create(CRONTAB, crontab(image="x"))
    assert spec_of(row(cluster).message)["image"] == "x"
    await define(api, definition(LATER), anew=False)
    assert spec_of(row(cluster).message) == SEEN


def two_versions(other: dict[str, Any], stored: dict[str, Any] | None = None) -> dict[str, Any]:
    """v1 stores, and v1beta1 has a schema of its own."""
    manifest = definition(stored, versions=("v1", "v1beta1"))
    own = definition(other)["spec"]["versions"][0]["schema"]
    manifest["spec"]["versions"][1]["schema"] = own
    return manifest


async def read_as(api: Api, kind: Kind) -> list[Any]:
    [listed] = (await api.list(kind)).items
    async with api.watch(kind) as watch:
        watched = opened((await watch.event()).object)
    return [spec_of(item) for item in (await api.get(kind, "backup"), opened(listed), watched)]


async def test_a_version_shows_the_fields_of_its_own_schema(api: Api) -> None:
    """Conversion None: fields of the stored version alone are not shown, and defaults are the stored version's."""
    await define(api, two_versions(LATER))
    await api.create(CRONTAB, crontab(image="x"))
    assert await read_as(api, OTHER) == [{"cronSpec": "* * * * */5"}] * 3
    assert await read_as(api, CRONTAB) == [{"cronSpec": "* * * * */5", "image": "x", "replicas": 1}] * 3


async def test_fields_that_the_storage_version_does_not_have_are_not_stored(api: Api, cluster: Cluster) -> None:
    """A write by another version: its defaults count, and what cannot be stored is left out."""
    await define(api, two_versions(LATER))
    await api.create(OTHER, crontab(version="v1beta1"))
    assert spec_of(await api.get(CRONTAB, "backup")) == {"cronSpec": "* * * * */5", "color": "red", "replicas": 1}
    assert b'"window"' not in row(cluster).value


async def test_a_value_that_is_no_json_costs_no_other_object(api: Api, cluster: Cluster) -> None:
    """The list has the others, and the damaged object as it is stored."""
    await define(api, definition())
    for name in ("a", "b"):
        await api.create(CRONTAB, crontab(name, image="x"))
    damaged = row(cluster, "a").parse()
    damaged.spec.raw = b"{"
    await cluster.store.update(lambda tx: tx.put(row(cluster, "a").kind, damaged))
    await define(api, definition(LATER), anew=False)
    first, second = (await api.list(CRONTAB)).items
    assert opened(first).spec.raw == b"{"
    assert spec_of(opened(second)) == SEEN


async def test_a_definition_keeps_every_field_of_its_schema(api: Api, cluster: Cluster) -> None:
    """Through a create, an update with what was read, an apply, and a reader that begins with what is stored."""
    fields = {name.replace("-", "_").lower(): schema for name, schema in ACCEPTED.items() if name != "x-kubernetes-validations"}
    fields["ruled"] = {"type": "string", "maxLength": 9, "x-kubernetes-validations": [
        {"rule": "self == oldSelf", "messageExpression": "'m'", "reason": "FieldValueForbidden", "optionalOldSelf": False},
        {"rule": "oldSelf.orValue('') != 'x'", "message": "m", "optionalOldSelf": True}]}  # fmt: skip
    spec = {"type": "object", "properties": fields}
    made = await api.create(CRD, definition(spec))
    assert schema_of(made) == spec
    await settle(50)
    again = await api.update(CRD, await api.get(CRD, NAME))
    [(outcome, applied)] = await api.apply(definition(spec), force=True)
    assert outcome == "unchanged"
    [stored] = cluster.store.rows(CRD)
    assert [schema_of(item) for item in (again, applied, CRD.cls.FromString(stored.value))] == [spec] * 3


def schema_of(item: Any) -> Any:
    """The schema of `spec` in a definition's first version."""
    return codec.encode(item)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
