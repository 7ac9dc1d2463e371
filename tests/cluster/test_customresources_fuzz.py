"""Any body of a write of a custom object is answered, or refused with an error of the API."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinnace import kinds
from pinnace.clock import settle
from pinnace.errors import ApiError
from tests.support.api import Api
from tests.support.cluster import running
from tests.support.customkinds import CRON_SPEC, CRONTAB, crontab, definition
from tests.support.trees import TREES

RULED = {
    **CRON_SPEC,
    "x-kubernetes-validations": [
        {"rule": "self.replicas <= 10 && (!has(self.env) || self.env.all(e, e.name != ''))"},
        {"rule": "!has(self.image) || self.image.matches('^[a-z]*$') || self.cronSpec == oldSelf.cronSpec"},
    ],
}
KEYS = st.sampled_from(["cronSpec", "image", "replicas", "color", "env", "extra", "x"])
SPECS = st.dictionaries(KEYS, TREES, max_size=4) | TREES
BODIES = st.builds(lambda spec, extra: {**extra, "spec": spec}, SPECS, st.dictionaries(st.text(max_size=6), TREES, max_size=2))


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_any_custom_object_is_stored_or_refused(data: st.DataObject) -> None:
    """Create, update, status, patch and apply, along a schema with rules and beside it."""
    async with running() as cluster:
        api = Api(cluster)
        await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition(RULED))
        await settle(50)
        await api.create(CRONTAB, crontab())
        for _ in range(3):
            body: dict[str, Any] = data.draw(BODIES)
            whole = {**crontab(), **body, "apiVersion": CRONTAB.api_version, "kind": "CronTab", "metadata": {"name": "backup"}}
            for write in (api.create, api.update, api.update_status):
                try:
                    await write(CRONTAB, whole)
                except ApiError:
                    continue
            for type_ in ("MERGE", "JSON", "STRATEGIC"):
                try:
                    await api.patch(CRONTAB, "backup", type_, body)
                except ApiError:
                    continue
            for outcome, result in await api.apply(whole):
                assert outcome in ("created", "configured", "unchanged") or isinstance(result, ApiError)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=TREES | st.dictionaries(st.sampled_from(
    ["type", "properties", "items", "anyOf", "not", "enum", "default", "pattern", "required", "maximum", "x-kubernetes-validations",
     "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "additionalProperties", "format", "nullable"]),
    TREES | st.just({"type": "object"}) | st.sampled_from(["object", "array", "map", "set"]), max_size=5))  # fmt: skip
async def test_any_schema_is_accepted_or_refused(schema: Any) -> None:
    """A definition whose schema is what Hypothesis finds, also below a field."""
    async with running() as cluster:
        api = Api(cluster)
        for tried in (schema, {"type": "object", "properties": {"spec": schema}}):
            manifest = definition()
            manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = tried
            try:
                await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, manifest, dry_run=True)
            except ApiError:
                continue
