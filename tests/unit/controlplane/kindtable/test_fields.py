"""The states of fields: messages of the API next to what Kubernetes has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from controlplane import resources
from controlplane.kindtable.fields import Type, Types
from controlplane.kindtable.upstream import Upstream, load, short
from pinnace import kinds, rules, schema
from pinnace.errors import Cause
from pinnace.kinds import Kind
from pinnace.schema import Schema


def upstream(**types: str) -> Upstream:
    return Upstream("1.0", {"v1": {"ConfigMap": "configmaps V1ConfigMap", "Secret": "secrets V1Secret"}}, types)


def found(types: Types, kind: Kind, name: str) -> Type:
    [made] = [item for item in types.of(kind) if item.name == name]
    return made


def test_fields_are_supported_unknown_or_beyond_kubernetes() -> None:
    """`immutable` stands for a field that Kubernetes dropped, `extra` for one that was added there."""
    types = Types(upstream(V1ConfigMap="apiVersion binaryData data extra kind metadata:V1ObjectMeta", V1ObjectMeta="name"))
    types.add(kinds.CONFIG_MAP)
    made = found(types, kinds.CONFIG_MAP, "ConfigMap")
    assert made.supported == ["binaryData", "data", "immutable", "metadata"]
    assert (made.unknown, made.beyond) == (["extra"], ["immutable"])
    assert "name" not in found(types, kinds.CONFIG_MAP, "ObjectMeta").beyond


def test_rejected_fields_stand_for_all_that_they_hold() -> None:
    types = Types(load())
    types.add(kinds.POD)
    spec = found(types, kinds.POD, "PodSpec")
    assert "schedulingGroup" in spec.rejected
    assert not any(item.name == "PodSchedulingGroup" for item in types.of(kinds.POD))
    assert "livenessProbe" in found(types, kinds.POD, "EphemeralContainer").forbidden


def test_types_of_several_kinds_are_shared_and_listed_once() -> None:
    types = Types(load())
    for kind in (kinds.DEPLOYMENT, kinds.REPLICA_SET):
        types.add(kind)
    names = [item.name for item in types.shared()]
    assert "PodTemplateSpec" in names
    assert len(names) == len(set(names))
    assert not {item.name for item in types.own(kinds.DEPLOYMENT)} & set(names)
    assert "PodTemplateSpec" in found(types, kinds.DEPLOYMENT, "DeploymentSpec").uses


def test_a_kind_that_kubernetes_does_not_have_is_compared_as_far_as_its_messages_are_known() -> None:
    types = Types(load())
    types.add(kinds.NODE_METRICS)
    assert found(types, kinds.NODE_METRICS, "NodeMetrics").unknown == []
    assert found(types, kinds.NODE_METRICS, "ObjectMeta").beyond == []


@pytest.mark.parametrize("kind", [kinds.EVICTION, kinds.TOKEN_REQUEST, kinds.SCALE], ids=lambda kind: kind.kind)
def test_requests_below_objects_are_compared_too(kind: Kind) -> None:
    """Kubernetes lists them under no resource; `lifecycle.k8s.io` has another Eviction."""
    types = Types(load())
    types.add(kind)
    assert not {"apiVersion", "kind", "metadata"} & set(found(types, kind, kind.kind).unknown)
    assert short(load().type_of(kind)) == kind.kind


def unsupported(spec: Schema, path: tuple[str, ...], seen: set[str]) -> Iterator[tuple[str, ...]]:
    """Names on the way to each field that a message rejects, by one way for each message."""
    for name, item in spec.fields.items():
        here = (*path, name)
        if item.unsupported:
            yield here
        elif item.message is not None and item.message.full_name not in seen:
            seen.add(item.message.full_name)
            yield from unsupported(item.message, here, seen)


def put(message: Any, path: tuple[str, ...]) -> None:
    """Set a field so that it is not empty."""
    name, *rest = path
    field = message.DESCRIPTOR.fields_by_name[name]
    if rest:
        inner = getattr(message, name)
        put((inner["a"] if is_map(field) else inner.add()) if field.is_repeated else inner, tuple(rest))
    elif field.message_type is None:
        value: Any = "a" if field.cpp_type == field.CPPTYPE_STRING else 1
        getattr(message, name).append(value) if field.is_repeated else setattr(message, name, value)
    else:
        inner = getattr(message, name)
        if is_map(field):
            entry = field.message_type.fields_by_name["value"]
            inner["a"].SetInParent() if entry.message_type else inner.update(a="a")
            return
        inner = inner.add() if field.is_repeated else inner
        inner.SetInParent()
        if not field.is_repeated and inner.DESCRIPTOR.fields:
            put(inner, (inner.DESCRIPTOR.fields[0].name,))


def is_map(field: Any) -> bool:
    return bool(field.message_type.GetOptions().map_entry)


def causes(kind: Kind, path: tuple[str, ...]) -> list[Cause]:
    message = kind.cls()
    put(message, path)
    return [cause for cause in rules.validate(message) if cause.field.rpartition(".")[2].partition("[")[0] == path[-1]]


@pytest.mark.parametrize("kind", [item.kind for item in resources.built_in().served()], ids=lambda kind: kind.resource)
def test_every_rejected_field_is_rejected_by_name(kind: Kind) -> None:
    """The page's second column, tried on a message for each kind."""
    paths = list(unsupported(schema.of(kind.cls), (), set()))
    for path in paths:
        assert causes(kind, path), f"{kind.kind}: {'.'.join(path)} is accepted"
    types = Types(load())
    types.add(kind)
    listed = {name for item in types.of(kind) for name in (*item.rejected, *item.forbidden)}
    assert listed == {path[-1] for path in paths}
