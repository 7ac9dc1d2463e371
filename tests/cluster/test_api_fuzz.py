"""Any body of a write is answered, or refused with an error of the API: no other exception reaches the caller."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinnace import kinds, schema
from pinnace.errors import ApiError
from pinnace.kinds import Kind
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.trees import TREES, base_of, objects

# One control plane for all examples: everything but the first object is a dry run.
ANY = settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
every_kind = pytest.mark.parametrize("kind", [*kinds.ALL, *kinds.FORMS], ids=lambda kind: kind.group_kind)
POINTERS = st.sampled_from(
    ["", "/metadata", "/metadata/labels", "/spec", "/spec/containers/0", "/spec/-", "/data/a", "a", "/~2"]
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": POINTERS},
    optional={"value": TREES, "from": POINTERS},
)


def name_of(kind: Kind) -> str:
    """A definition's name says what it defines."""
    return "crontabs.stable.example.com" if kind is kinds.CUSTOM_RESOURCE_DEFINITION else "fuzzed"


def base(kind: Kind) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name_of(kind)}, **base_of(kind)}


async def there(cluster: Cluster, kind: Kind) -> None:
    if cluster.store.view(lambda tx: tx.get(kind, "default" if kind.namespaced else "", name_of(kind))) is None:
        await Api(cluster).create(kind, base(kind))


@every_kind
@ANY
@given(data=st.data())
async def test_any_body_is_created_updated_or_refused(cluster: Cluster, kind: Kind, data: st.DataObject) -> None:
    """Objects along the schema, and what is none."""
    await there(cluster, kind)
    api = Api(cluster)
    value = data.draw(objects(schema.of(kind.cls)) | st.dictionaries(st.text(max_size=8), TREES, max_size=3))
    for body in (value, {**base(kind), **value}):
        for write in (api.create, api.update):
            try:
                await write(kind, body, dry_run=True)
            except ApiError:
                continue


@every_kind
@ANY
@given(data=st.data())
async def test_any_manifest_is_applied_or_refused(cluster: Cluster, kind: Kind, data: st.DataObject) -> None:
    """On top of an object of another manager, or as a new one."""
    await there(cluster, kind)
    value = data.draw(objects(schema.of(kind.cls)))
    meta = value.pop("metadata", {})
    named = {**(meta if isinstance(meta, dict) else {}), "name": data.draw(st.sampled_from([name_of(kind), "new"]))}
    manifest = {**base(kind), **value, "metadata": named if data.draw(st.booleans()) else meta}
    for force in (False, True):
        [(outcome, found)] = await Api(cluster, "other").apply(manifest, force=force, dryRun=True)
        assert outcome in ("created", "configured", "unchanged") or isinstance(found, ApiError)


@every_kind
@ANY
@given(data=st.data())
async def test_any_patch_is_applied_or_refused(cluster: Cluster, kind: Kind, data: st.DataObject) -> None:
    """Of each type, along the schema and not, with directives."""
    await there(cluster, kind)
    directives = st.fixed_dictionaries({"$patch": st.sampled_from(["delete", "replace", "merge", "x"])})
    patch = data.draw(objects(schema.of(kind.cls)) | TREES | directives | st.lists(OPERATIONS, max_size=3))
    for type_ in ("MERGE", "STRATEGIC", "JSON"):
        for subresource in ("", "status"):
            body = json.dumps(patch).encode()
            try:
                await Api(cluster).patch(kind, name_of(kind), type_, body, subresource=subresource, dryRun=True)
            except ApiError:
                continue


@pytest.mark.parametrize("depth", [60, 900, 20_000])
async def test_a_deep_tree_is_refused(cluster: Cluster, depth: int) -> None:
    """Wherever it stands, also where any JSON may."""
    await there(cluster, kinds.CONFIG_MAP)
    deep = '{"a":' * depth + "1" + "}" * depth
    text = json.dumps(base(kinds.CONFIG_MAP))
    for field in ("data", "metadata", "x"):
        body = f'{text[:-1]}, "{field}": {deep}}}'.encode()
        for type_ in ("MERGE", "STRATEGIC"):
            with pytest.raises(ApiError):
                await Api(cluster).patch(kinds.CONFIG_MAP, "fuzzed", type_, body, dryRun=True)
    managed = f'{text[:-1]}, "metadata": {{"managedFields": [{{"fieldsV1": {deep}}}]}}}}'.encode()
    for type_ in ("MERGE", "STRATEGIC"):
        try:
            await Api(cluster).patch(kinds.CONFIG_MAP, "fuzzed", type_, managed, dryRun=True)
        except ApiError:
            continue
