"""Tables instead of objects in Get, List and Watch, and discovery, as the gRPC API answers."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import errors, kinds
from pinnace.api.v1 import objects_pb2
from pinnace.meta.v1.meta_pb2 import PartialObjectMetadata
from tests.support.api import Api, config, opened
from tests.support.cluster import Cluster
from tests.support.customkinds import CRONTAB, GROUP, crontab, definition

OPTIONS = objects_pb2.TableOptions
CONFIG = kinds.CONFIG_MAP
COLUMNS = [
    {"name": "Cron", "type": "string", "jsonPath": ".spec.cronSpec"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Made", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
]


def titles(table: objects_pb2.Table) -> list[str]:
    return [column.name for column in table.columnDefinitions]


def cells(table: objects_pb2.Table) -> list[list[Any]]:
    """By row; None for a cell without a value."""
    return [
        [getattr(cell, cell.WhichOneof("value")) if cell.WhichOneof("value") else None for cell in row.cells]
        for row in table.rows
    ]


async def listed(api: Api, kind: Any, include: int = OPTIONS.METADATA, **how: Any) -> objects_pb2.ListResponse:
    return await api.list(kind, table=OPTIONS(includeObject=include), **how)


async def test_a_list_as_a_table(cluster: Cluster, api: Api) -> None:
    """Instead of items; ages are of the moment at which it is rendered."""
    await api.create(CONFIG, config("a", x="1", y="2"))
    await cluster.advance(90)
    await api.create(CONFIG, config("b"))
    page = await listed(api, CONFIG)
    assert titles(page.table) == ["Name", "Data", "Age"]
    assert cells(page.table) == [["a", 2, "90s"], ["b", 0, "0s"]]
    assert not page.items
    assert int(page.resourceVersion) > 0
    await cluster.advance(40)
    assert cells((await listed(api, CONFIG)).table) == [["a", 2, "2m10s"], ["b", 0, "40s"]]


async def test_a_row_carries_what_is_asked_of_its_object(api: Api) -> None:
    """Nothing, the metadata, or all of it, with its revision."""
    made = await api.create(CONFIG, config("a", {"app": "web"}, x="1"))
    row = (await listed(api, CONFIG, OPTIONS.NONE)).table.rows[0]
    assert not row.HasField("object")
    row = (await listed(api, CONFIG)).table.rows[0]
    assert (row.object.apiVersion, row.object.kind) == ("meta.k8s.io/v1", "PartialObjectMetadata")
    assert PartialObjectMetadata.FromString(row.object.protobuf).metadata == made.metadata
    row = (await listed(api, CONFIG, OPTIONS.OBJECT)).table.rows[0]
    assert opened(row.object) == made


async def test_pages_of_a_table_have_columns_each(api: Api) -> None:
    """And together all rows; a list of nothing still has its columns."""
    for at in range(5):
        await api.create(CONFIG, config(f"c{at}"))
    found, token = list[str](), ""
    while True:
        page = await listed(api, CONFIG, limit=2, continueToken=token)
        assert titles(page.table) == ["Name", "Data", "Age"]
        found += [row[0] for row in cells(page.table)]
        if not page.continueToken:
            break
        token = page.continueToken
    assert found == [f"c{at}" for at in range(5)]
    assert titles((await listed(api, kinds.SECRET)).table) == ["Name", "Type", "Data", "Age"]


async def test_a_long_page_is_rendered_whole(api: Api) -> None:
    """In parts, for other requests to have a turn."""
    for at in range(120):
        await api.create(CONFIG, config(f"c{at:03}"))
    table = (await listed(api, CONFIG, OPTIONS.NONE)).table
    assert [row[0] for row in cells(table)] == [f"c{at:03}" for at in range(120)]
    assert titles(table) == ["Name", "Data", "Age"]


async def test_one_object_as_a_table(cluster: Cluster, api: Api) -> None:
    """In place of the object; what does not exist is an error as ever."""
    await api.create(CONFIG, config("a"))
    request = objects_pb2.GetRequest(ref=api.ref(CONFIG, "a"), table=OPTIONS())
    answer = await cluster.api.Get(request, None)
    assert (answer.apiVersion, answer.kind, answer.WhichOneof("body")) == ("meta.k8s.io/v1", "Table", "table")
    assert cells(answer.table) == [["a", 0, "0s"]]
    assert titles(answer.table) == ["Name", "Data", "Age"]
    request.ref.name = "b"
    with pytest.raises(errors.NotFound):
        await cluster.api.Get(request, None)


async def test_events_of_a_watch_are_tables_of_one_row(api: Api) -> None:
    """Columns come once, with the first object."""
    async with api.watch(CONFIG, table=OPTIONS(includeObject=OPTIONS.NONE)) as watch:
        first = await watch.event()
        assert (first.type, first.HasField("object")) == (first.BOOKMARK, False)
        await api.create(CONFIG, config("a"))
        await api.update(CONFIG, config("a", x="1"))
        await api.delete(CONFIG, "a")
        events = [await watch.event() for _ in range(3)]
    assert [event.type for event in events] == [first.ADDED, first.MODIFIED, first.DELETED]
    assert [cells(event.object.table) for event in events] == [[["a", 0, "0s"]], [["a", 1, "0s"]], [["a", 1, "0s"]]]
    assert [len(titles(event.object.table)) for event in events] == [3, 0, 0]


async def test_custom_kinds_have_the_columns_of_their_definition(cluster: Cluster, api: Api) -> None:
    """Of the version that is asked for; a change of the definition changes the next table."""
    manifest = definition(additionalPrinterColumns=COLUMNS)
    await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, manifest)
    await cluster.advance(1)
    await api.create(CRONTAB, crontab(cronSpec="* * * * *"))
    await cluster.advance(60)
    table = (await listed(api, CRONTAB)).table
    assert [(column.name, column.priority) for column in table.columnDefinitions] == [
        ("Name", 0), ("Cron", 0), ("Replicas", 0), ("Made", 1),
    ]  # fmt: skip
    assert cells(table) == [["backup", "* * * * *", 1, "60s"]]
    await api.update(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    await cluster.advance(1)
    assert titles((await listed(api, CRONTAB)).table) == ["Name", "Age"]


async def test_discovery_lists_what_is_served(cluster: Cluster, api: Api) -> None:
    """Custom kinds too, from the moment at which their definition is established until it is gone."""

    async def found() -> dict[str, objects_pb2.ServedResource]:
        answer = await cluster.api.Discover(objects_pb2.DiscoverRequest(), None)
        return {f"{item.plural}.{item.apiVersion}": item for item in answer.resources}

    pods = (await found())["pods.v1"]
    assert (pods.kind, pods.singular, list(pods.shortNames), list(pods.categories)) == ("Pod", "pod", ["po"], ["all"])
    assert (pods.namespaced, pods.custom, "watch" in pods.verbs) == (True, False, True)
    assert [(part.name, part.apiVersion, part.kind, list(part.verbs)) for part in pods.subresources] == [
        ("attach", "v1", "PodAttachOptions", ["create", "get"]),
        ("binding", "v1", "Binding", ["create"]),
        ("ephemeralcontainers", "v1", "Pod", ["get", "patch", "update"]),
        ("eviction", "policy/v1", "Eviction", ["create"]),
        ("exec", "v1", "PodExecOptions", ["create", "get"]),
        ("log", "v1", "Pod", ["get"]),
        ("portforward", "v1", "PodPortForwardOptions", ["create", "get"]),
        ("proxy", "v1", "PodProxyOptions", ["create", "delete", "get", "patch", "update"]),
        ("resize", "v1", "Pod", ["get", "patch", "update"]),
        ("status", "v1", "Pod", ["get", "patch", "update"]),
    ]  # fmt: skip
    name = f"crontabs.{GROUP}/v1"
    assert name not in await found()
    await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition(scope="Cluster"))
    await cluster.advance(1)
    item = (await found())[name]
    assert (item.custom, item.namespaced, list(item.shortNames)) == (True, False, ["ct"])
    await api.delete(kinds.CUSTOM_RESOURCE_DEFINITION, f"crontabs.{GROUP}")
    await cluster.advance(1)
    assert name not in await found()
