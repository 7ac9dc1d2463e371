"""The work of one request is bounded, whatever stands in it: counted in calls, which is the same on every machine.

An object of too many values is refused before it costs anything, by every verb; the largest that is allowed costs in proportion.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controlplane.requests import decoding
from pinnace import codec, kinds
from pinnace.api.v1 import objects_pb2
from pinnace.errors import ApiError, TooLarge
from pinnace.kinds import CONFIG_MAP, MAX_VALUES, POD
from tests.support.api import Api, config, pod_manifest
from tests.support.cluster import Cluster

# Calls of Python functions for each value of an object that is stored: decoded, copied, defaulted, validated, owned, encoded.
CALLS = 25
# Calls of a request that is refused, apart from those that read its JSON; one for each value would be 10,000 at least.
REFUSED = 3_000


async def calls(work: Callable[[], Awaitable[Any]]) -> tuple[int, Any]:
    """How many Python functions `work` calls, and its result or its error of the API."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        result = await work()
    except ApiError as error:
        result = error
    finally:
        sys.setprofile(before)
    return count, result


def ports(count: int) -> dict[str, Any]:
    """A pod with so many host ports, of two values and the item itself."""
    listed = [{"containerPort": number, "hostPort": number} for number in range(1, count + 1)]
    return pod_manifest("many", containers=[{"name": "main", "image": "x", "ports": listed}])


def containers(count: int) -> dict[str, Any]:
    return pod_manifest("many", containers=[{"name": f"c{number}", "image": "x"} for number in range(count)])


def environment(count: int) -> dict[str, Any]:
    listed = [{"name": f"E{number}", "value": "x"} for number in range(count)]
    return pod_manifest("many", containers=[{"name": "main", "image": "x", "env": listed}])


def labels(count: int) -> dict[str, Any]:
    return config("many", labels={f"l{number}": "x" for number in range(count)})


def owners(count: int) -> dict[str, Any]:
    listed = [{"apiVersion": "v1", "kind": "Pod", "name": f"p{number}", "uid": f"u{number}"} for number in range(count)]
    return {**config("many"), "metadata": {"name": "many", "ownerReferences": listed}}


# Each with the values of one item.
SHAPES = [(ports, 3), (containers, 3), (environment, 3), (labels, 1), (owners, 5)]
shapes = pytest.mark.parametrize(("make", "values"), SHAPES, ids=lambda item: getattr(item, "__name__", ""))


def kind_of(manifest: dict[str, Any]) -> kinds.Kind:
    return POD if manifest["kind"] == "Pod" else CONFIG_MAP


@shapes
async def test_the_largest_object_that_is_allowed_costs_in_proportion(api: Api, make: Any, values: int) -> None:
    """Create and apply: so many calls for each value, and twice as many for twice as many values."""
    most = (MAX_VALUES - 30) // values
    for write in (
        lambda manifest: api.create(kind_of(manifest), manifest, dry_run=True),
        lambda manifest: api.apply(manifest, dryRun=True),
    ):
        half, _ = await calls(lambda write=write: write(make(most // 2)))
        whole, _ = await calls(lambda write=write: write(make(most)))
        assert whole < CALLS * MAX_VALUES
        assert whole < 2.2 * half


@shapes
async def test_one_with_more_values_is_refused_by_every_verb_at_no_cost(api: Api, make: Any, values: int) -> None:
    """However many more: thirty thousand ports, ten thousand containers."""
    large = make(30_000)
    kind = kind_of(large)
    await api.create(kind, make(1))
    change = {key: large[key] for key in large if key not in ("apiVersion", "kind")}
    operations = [{"op": "add", "path": f"/{key}", "value": value} for key, value in change.items()]
    parsed, _ = await calls(lambda: asyncio.sleep(0, codec.load_json(json.dumps(large).encode())))
    # Of a message the values are counted one by one.
    message = codec.decode(kind.cls, decoding_form(large))
    for allowed, write in (
        (REFUSED, lambda: api.create(kind, large)),
        (REFUSED, lambda: api.update(kind, large)),
        (REFUSED, lambda: api.apply(large)),
        (REFUSED, lambda: api.patch(kind, "many", "MERGE", change)),
        (REFUSED, lambda: api.patch(kind, "many", "STRATEGIC", change)),
        (REFUSED, lambda: api.patch(kind, "many", "JSON", operations)),
        (2 * MAX_VALUES, lambda: api.create(kind, message)),
    ):
        count, result = await calls(write)
        error = result[0][1] if isinstance(result, list) else result
        assert isinstance(error, TooLarge), error
        assert str(MAX_VALUES) in error.message
        assert len(error.message) < 200
        assert count - parsed < allowed


def decoding_form(manifest: dict[str, Any]) -> dict[str, Any]:
    """As a client of protobuf has it."""
    meta = {**manifest["metadata"], "namespace": "default"}
    return {**{key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}, "metadata": meta}


async def test_managers_that_apply_in_turn_cannot_exceed_the_limit(cluster: Cluster) -> None:
    """Each of them less than is allowed, all together more."""
    for number in range(3):
        part = config("shared", **{f"{number}-{key}": "x" for key in range(MAX_VALUES // 2 - 100)})
        [(outcome, result)] = await Api(cluster, f"manager-{number}").apply(part)
        assert (outcome == "failed") == (number == 2), result
    assert isinstance(result, TooLarge)


def test_managed_fields_do_not_count(cluster: Cluster) -> None:
    """A client sends back what it was given."""
    fields = {"f:data": {f"f:k{number}": {} for number in range(MAX_VALUES)}}
    body = config("owned")
    body["metadata"]["managedFields"] = [{"manager": "a", "operation": "Update", "fieldsV1": fields}]
    request = objects_pb2.Object(json=json.dumps(body).encode())
    resource = cluster.api._registry.resource(CONFIG_MAP)
    assert decoding.manifest(resource, request.json, "default")["metadata"]["name"] == "owned"


@pytest.mark.parametrize("item", [b"1", b"{}", b'"a"', b'{"a":"b"}', b'"\\\\"', b'"\\""'])
async def test_a_text_of_too_many_values_is_refused_before_it_is_read(item: bytes) -> None:
    """Whatever they are; a call for each number would be three hundred thousand."""

    async def load() -> str:
        with pytest.raises(ValueError, match="more than 250000 values"):
            codec.load_json(b"[" + (item + b",") * 300_000 + b"1]")
        return ""

    count, _ = await calls(load)
    assert count < 300


@pytest.mark.parametrize("text", [", " * 400_000, '",' * 200_000, '\\",' * 100_000, '"' * 400_000, '\\",\\' * 100_000])
def test_commas_and_quotes_in_a_text_are_no_values(text: str) -> None:
    """A table in a ConfigMap."""
    assert codec.load_json(json.dumps({"data": {"x": text, "y": [1, 2]}}).encode()) == {"data": {"x": text, "y": [1, 2]}}
