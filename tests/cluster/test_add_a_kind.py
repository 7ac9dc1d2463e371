"""The checklist "add a kind" (docs/design/checklists.md), followed for an invented kind that is registered at run time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from controlplane import resources
from controlplane.resources import Registry, Resource, Strategy
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import errors, fielderrors, kinds
from pinnace.admission.kindrules import KindRules
from pinnace.api.v1 import objects_pb2
from pinnace.clock import VirtualClock
from pinnace.errors import Cause
from pinnace.kinds import Kind
from pinnace.meta.v1 import options_pb2
from tests.support.cluster import Cluster, running

STRING, MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE


def _message_class() -> Any:
    """Step 1: the message, as protoc would make it. A widget has a size, one of two, and a status."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/widget.proto", package="tests.widget", syntax="proto3")
    file.dependency.append("pinnace/meta/v1/meta.proto")
    spec = file.message_type.add(name="WidgetSpec")
    size = spec.field.add(name="size", number=1, type=STRING, label=1)
    size.options.Extensions[options_pb2.rules].CopyFrom(options_pb2.FieldRules(default="small", enum=["small", "large"]))
    spec.field.add(name="colour", number=2, type=STRING, label=1)
    status = file.message_type.add(name="WidgetStatus")
    status.field.add(name="phase", number=1, type=STRING, label=1)
    widget = file.message_type.add(name="Widget")
    for number, (name, type_) in enumerate(
        (
            ("metadata", ".pinnace.meta.v1.ObjectMeta"),
            ("spec", ".tests.widget.WidgetSpec"),
            ("status", ".tests.widget.WidgetStatus"),
        ),
        1,
    ):
        widget.field.add(name=name, number=number, type=MESSAGE, type_name=type_, label=1)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.widget.Widget"))


# Step 2: the identity.
WIDGET: Kind = Kind("example.com/v1", "Widget", "widgets", _message_class(), ("wd",))


class _Strategy(Strategy[Any]):
    """Step 3: what the server does with it."""

    def prepare_for_create(self, new: Any) -> None:
        new.status.phase = "New"

    def prepare_for_update(self, new: Any, old: Any) -> None:
        new.spec.colour = new.spec.colour or old.spec.colour

    def is_settled(self, stored: Any) -> bool:
        return bool(stored.status.phase != "Busy")


def _validate(item: Any) -> list[Cause]:
    """Step 4: a rule between fields."""
    if item.spec.size == "large" and item.spec.colour == "red":
        return [fielderrors.forbidden("spec.colour", "large widgets are not red")]
    return []


RESOURCE: Resource = Resource(
    WIDGET,
    rules=KindRules(validate=_validate),
    strategy=_Strategy(),
    categories=("all",),
    selectable={"spec.colour": lambda item: str(item.spec.colour)},
)


def widget(name: str = "one", **spec: str) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A cluster whose registry learns of the kind while it runs."""
    registry = resources.built_in()
    async with running(registry=registry) as made:
        registry.add(RESOURCE)
        yield made


async def objects(cluster: Cluster, **how: Any) -> list[Any]:
    request = objects_pb2.ListRequest(ref=reference(), **how)
    return [WIDGET.cls.FromString(item.protobuf) for item in (await cluster.api.List(request, None)).items]


def reference(name: str = "") -> objects_pb2.Reference:
    return objects_pb2.Reference(apiVersion="example.com/v1", kind="Widget", namespace="default", name=name)


def write(value: dict[str, Any]) -> objects_pb2.WriteRequest:
    body = objects_pb2.Object(apiVersion="example.com/v1", kind="Widget", json=json.dumps(value).encode())
    return objects_pb2.WriteRequest(object=body, fieldManager="test")


async def create(cluster: Cluster, value: dict[str, Any]) -> Any:
    return WIDGET.cls.FromString((await cluster.api.Create(write(value), None)).protobuf)


async def apply(cluster: Cluster, value: dict[str, Any]) -> Any:
    item = objects_pb2.Object(apiVersion="example.com/v1", kind="Widget", json=json.dumps(value).encode())
    answer = await cluster.api.Apply(objects_pb2.ApplyRequest(objects=[item], fieldManager="applier"), None)
    return answer.results[0]


async def get(cluster: Cluster, name: str = "one") -> Any:
    found = await cluster.api.Get(objects_pb2.GetRequest(ref=reference(name)), None)
    return WIDGET.cls.FromString(found.protobuf)


async def test_create_defaults_validates_and_prepares(cluster: Cluster) -> None:
    """By field options, the kind's rules and its strategy."""
    made = await create(cluster, widget(colour="blue"))
    assert (made.spec.size, made.status.phase, made.metadata.generation, made.metadata.namespace) == (
        "small",
        "New",
        1,
        "default",
    )
    assert await get(cluster) == made
    for spec, field in (
        ({"size": "huge"}, "spec.size"),
        ({"size": "large", "colour": "red"}, "spec.colour"),
        ({"x": "y"}, "spec.x"),
    ):
        with pytest.raises(errors.Invalid) as caught:
            await create(cluster, widget("two", **spec))
        assert [cause.field for cause in caught.value.causes] == [field]


async def test_list_and_watch_select_by_its_fields(cluster: Cluster) -> None:
    """By the declared ones, and by no others."""
    for name, colour in (("one", "blue"), ("two", "green")):
        await create(cluster, widget(name, colour=colour))
    assert [item.metadata.name for item in await objects(cluster, fieldSelector="spec.colour=green")] == ["two"]
    with pytest.raises(errors.BadRequest):
        await objects(cluster, fieldSelector="spec.size=small")
    responses = cluster.api.Watch(objects_pb2.WatchRequest(ref=reference(), fieldSelector="spec.colour=blue"), None)
    first = (await anext(responses)).events
    assert [WIDGET.cls.FromString(event.object.protobuf).metadata.name for event in first[:-1]] == ["one"]
    await responses.aclose()


async def test_apply_patch_and_status(cluster: Cluster) -> None:
    """With field ownership; the strategy keeps what an update may not change; a spec is a new generation."""
    assert (await apply(cluster, widget(colour="blue"))).outcome == objects_pb2.ApplyResult.CREATED
    assert (await apply(cluster, widget(colour="blue"))).outcome == objects_pb2.ApplyResult.UNCHANGED
    assert (await apply(cluster, widget(colour="blue", size="large"))).outcome == objects_pb2.ApplyResult.CONFIGURED
    patch = objects_pb2.PatchRequest(
        ref=reference("one"), type=objects_pb2.PatchRequest.MERGE, patch=b'{"spec":{"colour":null}}'
    )
    await cluster.api.Patch(patch, None)
    found = await get(cluster)
    assert (found.spec.colour, found.spec.size, found.metadata.generation) == ("blue", "large", 2)
    await cluster.api.UpdateStatus(write({**widget(), "status": {"phase": "Busy"}}), None)
    assert ((await get(cluster)).status.phase, (await get(cluster)).metadata.generation) == ("Busy", 2)


async def test_delete_waits_for_what_the_strategy_says(cluster: Cluster) -> None:
    """And the object is removed by the write that settles it."""
    await create(cluster, widget())
    await cluster.api.UpdateStatus(write({**widget(), "status": {"phase": "Busy"}}), None)
    answer = await cluster.api.Delete(objects_pb2.DeleteRequest(ref=reference("one")), None)
    assert answer.gone is False
    await cluster.api.UpdateStatus(write({**widget(), "status": {"phase": "Done"}}), None)
    with pytest.raises(errors.NotFound):
        await get(cluster)


async def test_a_namespace_takes_it_along(cluster: Cluster) -> None:
    """Namespace deletion asks the registry which kinds there are."""
    await cluster.create(kinds.NAMESPACE.cls(metadata={"name": "team"}))
    value = widget()
    value["metadata"]["namespace"] = "team"
    await create(cluster, value)
    await cluster.delete(kinds.NAMESPACE, "team")
    await cluster.advance(10)
    assert cluster.get(kinds.NAMESPACE, "team") is None
    assert cluster.names(WIDGET) == []


async def test_a_removed_kind_is_not_served(cluster: Cluster) -> None:
    """Until it is added again."""
    await create(cluster, widget())
    registry = Registry.of(cluster.store)
    registry.remove(WIDGET)
    with pytest.raises(errors.NotFound):
        await get(cluster)
    registry.add(RESOURCE)
    assert (await get(cluster)).metadata.name == "one"
    with pytest.raises(ValueError, match="registered already"):
        registry.add(RESOURCE)


async def test_a_registry_belongs_to_one_store() -> None:
    """A kind added to one is unknown to another."""
    first, second = resources.built_in(), resources.built_in()
    first.add(RESOURCE)
    store = await Store.open(MemoryBackend(), VirtualClock(), second)
    with pytest.raises(errors.NotFound):
        Registry.of(store).find("example.com/v1", "Widget")
    await store.close()
