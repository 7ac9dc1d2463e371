"""Tables and metadata alone in each media type: JSON, YAML and protobuf, of one object, of lists and in watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.rest import lists
from pinnace import codec, manifest
from pinnace.clock import settle
from pinnace.meta.v1 import meta_pb2, rest_pb2
from tests.support import customkinds, wirefields
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

MAPS = "/api/v1/namespaces/default/configmaps"
CRONTABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"


@pytest.fixture
def rest(cluster: Cluster) -> Rest:
    return Rest(cluster)


def shaped(media: str, shape: str, version: str = "v1") -> str:
    return f"{media};as={shape};g=meta.k8s.io;v={version}"


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"a": name}}, "data": {"k": "hidden"}}


async def read(rest: Rest, url: str, accept: str) -> Any:
    """The document of an answer in YAML."""
    answer = await rest.respond("GET", url, accept=accept)
    _, data = await rest.text("GET", url, accept=accept)
    assert (answer.status, answer.content_type) == (200, accept.partition(";")[0]), data
    return manifest.load(data, "answer")[0].value


def opened(data: bytes) -> rest_pb2.Unknown:
    assert data[:4] == b"k8s\0"
    return rest_pb2.Unknown.FromString(data[4:])


def typed(found: rest_pb2.Unknown) -> tuple[str, str]:
    return found.typeMeta.apiVersion, found.typeMeta.kind


def metadata(found: rest_pb2.Unknown) -> meta_pb2.ObjectMeta:
    """Of an object of which nothing but the metadata was sent."""
    partial = meta_pb2.PartialObjectMetadata.FromString(found.raw)
    assert partial.SerializeToString() == found.raw
    assert b"hidden" not in found.raw
    return partial.metadata


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize("shape", ["Table", "PartialObjectMetadata"])
@pytest.mark.parametrize("path", [MAPS, f"{MAPS}/a"])
async def test_yaml_says_what_json_does(rest: Rest, path: str, shape: str, version: str) -> None:
    """Of one object and of a list, in both versions of meta.k8s.io."""
    for name in ("a", "b"):
        await rest.ask("POST", MAPS, config_map(name))
    found = await read(rest, path, shaped(YAML, shape, version))
    assert found == await rest.get(path, accept=shaped(JSON, shape, version))
    assert found["apiVersion"] == f"meta.k8s.io/{version}"


@pytest.mark.parametrize("shape", ["Table", "PartialObjectMetadataList"])
async def test_a_long_list_in_yaml_comes_in_pieces(rest: Rest, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which together are one document, as those of an empty list are."""
    assert await read(rest, MAPS, shaped(YAML, shape)) == await rest.get(MAPS, accept=shaped(JSON, shape))
    for number in range(20):
        await rest.ask("POST", MAPS, config_map(f"a{number}"))
    monkeypatch.setattr(lists, "YAML_PIECE", 300)
    answer = await rest.respond("GET", MAPS, accept=shaped(YAML, shape))
    assert not isinstance(answer.body, bytes)
    assert await read(rest, MAPS, shaped(YAML, shape)) == await rest.get(MAPS, accept=shaped(JSON, shape))


async def test_rows_in_yaml_carry_what_is_asked_of_their_objects(rest: Rest) -> None:
    await rest.ask("POST", MAPS, config_map("a"))
    for include in ("None", "Metadata", "Object"):
        url = f"{MAPS}?includeObject={include}"
        assert await read(rest, url, shaped(YAML, "Table")) == await rest.get(url, accept=shaped(JSON, "Table"))


async def test_metadata_alone_in_protobuf(rest: Rest) -> None:
    """Of one object, of a list with its own metadata, and of what was created."""
    status, data = await rest.text("POST", MAPS, config_map("a"), accept=shaped(PROTOBUF, "PartialObjectMetadata"))
    assert (status, typed(opened(data))) == (201, ("meta.k8s.io/v1", "PartialObjectMetadata"))
    await rest.ask("POST", MAPS, config_map("b"))
    _, data = await rest.text("GET", f"{MAPS}/a", accept=shaped(PROTOBUF, "PartialObjectMetadata", "v1beta1"))
    assert typed(opened(data)) == ("meta.k8s.io/v1beta1", "PartialObjectMetadata")
    whole = await rest.get(f"{MAPS}/a")
    assert codec.encode(metadata(opened(data))) == whole["metadata"]
    _, data = await rest.text("GET", f"{MAPS}?limit=1", accept=shaped(PROTOBUF, "PartialObjectMetadataList"))
    found = opened(data)
    assert typed(found) == ("meta.k8s.io/v1", "PartialObjectMetadataList")
    fields = wirefields.parse(found.raw)
    [meta], [item] = fields[1], fields[2]
    assert codec.encode(meta_pb2.ListMeta.FromString(meta))["remainingItemCount"] == 1
    assert meta_pb2.PartialObjectMetadata.FromString(item) == meta_pb2.PartialObjectMetadata(
        metadata=codec.decode(meta_pb2.ObjectMeta, whole["metadata"])
    )


async def test_a_custom_kind_has_its_metadata_in_protobuf(rest: Rest) -> None:
    """Though it has no message of its own: then the next media type is taken."""
    await rest.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", customkinds.definition())
    await settle(TURNS)
    body = {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": "a"},
        "spec": {"cronSpec": "* * * * *"},
    }
    assert (await rest.ask("POST", CRONTABS, body))[0] == 201
    _, data = await rest.text("GET", f"{CRONTABS}/a", accept=shaped(PROTOBUF, "PartialObjectMetadata"))
    assert metadata(opened(data)).name == "a"
    answer = await rest.respond("GET", f"{CRONTABS}/a", accept=f"{PROTOBUF}, {JSON}")
    assert answer.content_type == JSON


async def test_a_table_is_not_sent_in_protobuf(rest: Rest) -> None:
    """As in Kubernetes: 406, unless the client takes something else too."""
    table = shaped(PROTOBUF, "Table")
    status, refused = await rest.ask("GET", MAPS, accept=table)
    assert (status, refused["reason"]) == (406, "NotAcceptable")
    answer = await rest.respond("GET", MAPS, accept=f"{table}, {shaped(JSON, 'Table')}")
    assert (answer.status, answer.content_type) == (200, JSON)


@asynccontextmanager
async def frames(rest: Rest, url: str, accept: str) -> AsyncIterator[AsyncIterator[rest_pb2.WatchEvent]]:
    """The events of a watch in protobuf."""
    answer = await rest.respond("GET", url, accept=accept)
    assert (answer.status, answer.content_type) == (200, f"{PROTOBUF};stream=watch")
    chunks = answer.body
    assert not isinstance(chunks, bytes)

    async def events() -> AsyncIterator[rest_pb2.WatchEvent]:
        async for chunk in chunks:
            while chunk:
                size = int.from_bytes(chunk[:4], "big")
                yield rest_pb2.WatchEvent.FromString(chunk[4 : 4 + size])
                chunk = chunk[4 + size :]

    try:
        yield events()
    finally:
        await chunks.aclose()


async def test_a_watch_of_metadata_in_protobuf(rest: Rest) -> None:
    """Objects and bookmarks, as an informer of metadata reads them."""
    await rest.ask("POST", MAPS, config_map("a"))
    query = "watch=1&allowWatchBookmarks=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    async with frames(rest, f"{MAPS}?{query}", shaped(PROTOBUF, "PartialObjectMetadata")) as events:
        added, mark = await anext(events), await anext(events)
        await rest.ask("DELETE", f"{MAPS}/a")
        gone = await anext(events)
    assert [event.type for event in (added, mark, gone)] == ["ADDED", "BOOKMARK", "DELETED"]
    for event in (added, mark, gone):
        assert typed(opened(event.object.raw)) == ("meta.k8s.io/v1", "PartialObjectMetadata")
    assert [metadata(opened(event.object.raw)).name for event in (added, mark, gone)] == ["a", "", "a"]
    assert metadata(opened(mark.object.raw)).annotations["k8s.io/initial-events-end"] == "true"


async def test_a_watch_is_not_sent_in_yaml(rest: Rest) -> None:
    """Neither of objects nor of tables; as in Kubernetes."""
    for accept in (YAML, shaped(YAML, "Table")):
        assert (await rest.ask("GET", f"{MAPS}?watch=1", accept=accept))[0] == 406
