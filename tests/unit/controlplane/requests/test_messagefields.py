"""The fields of a creator, found in the message, are those that its JSON has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.requests import ownership
from controlplane.requests.fieldsets import FieldSet, to_fields_v1
from controlplane.requests.fieldwalk import owned
from controlplane.requests.messagefields import owned_below
from controlplane.requests.ownership import created_fields
from pinnace import codec, kinds, schema, schematree
from pinnace.kinds import Kind
from tests.support.trees import objects


def by_json(kind: Kind, message: Any) -> FieldSet:
    """The reference: the set of the object's JSON."""
    value = codec.encode(message)
    # Fields that only the server writes have no owner.
    for name in ("apiVersion", "kind", "status"):
        value.pop(name, None)
    for name in ownership.UNOWNED_META:
        value.get("metadata", {}).pop(name, None)
    if not value.get("metadata"):
        value.pop("metadata", None)
    return owned(schematree.of_kind(kind), value)


def decoded(kind: Kind, value: Any) -> Any:
    """The part of the value that fits the schema."""
    try:
        return codec.decode(kind.cls, value)
    except codec.FieldError as error:
        return kind.cls(**error.partial) if isinstance(error.partial, dict) else kind.cls()


@pytest.mark.parametrize("kind", [*kinds.ALL, *kinds.FORMS], ids=lambda kind: kind.group_kind)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_message_has_the_fields_of_its_json(kind: Kind, data: st.DataObject) -> None:
    """To the byte, for any object of any kind."""
    message = decoded(kind, data.draw(objects(schema.of(kind.cls))))
    assert created_fields(kind, message) == to_fields_v1(by_json(kind, message))


@pytest.mark.parametrize(
    "kind", [kind for kind in kinds.ALL if "status" in schema.of(kind.cls).fields], ids=lambda kind: kind.kind
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_a_status_has_the_fields_of_its_json(kind: Kind, data: st.DataObject) -> None:
    """To the byte, of any status after any others, whose texts are kept by their shapes."""
    message = decoded(kind, data.draw(objects(schema.of(kind.cls))))
    value = codec.encode(message).get("status")
    expected = owned(schematree.of_kind(kind), {"status": value}) if value else {}
    assert owned_below(message, "status") == to_fields_v1(expected)


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "main", "image": "x", **fields}


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [container(), container()]},
        {"containers": [container(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}])]},
        {"containers": [container(ports=[{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}])]},
        {"containers": [container(env=[{"name": 'a"\\é', "valueFrom": {"fieldRef": {"fieldPath": "x"}}}])]},
        {"containers": [container(volumeMounts=[{"name": "v", "mountPath": "/a"}], args=["a", "b"])]},
        {"ephemeralContainers": [{"name": "debug", "image": "x", "targetContainerName": "main"}]},
        {"imagePullSecrets": [{"name": "a"}, {}], "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]},
        {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "secret": {"secretName": "s"}}]},
        {"securityContext": {}, "nodeSelector": {"b": "1", "a": "2"}, "overhead": {"cpu": "1"}},
        {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]},
    ],
)
def test_the_parts_of_a_pod_have_the_fields_of_their_json(spec: dict[str, Any]) -> None:
    """Lists with keys, with default keys and with items that share one; maps; atomic values; empty messages."""
    meta = {"name": "web", "labels": {"b": "", "a": ""}, "finalizers": ["x/a", "x/b"], "ownerReferences": [{"uid": "1"}]}
    message = codec.decode(kinds.POD.cls, {"metadata": meta, "spec": spec, "status": {"phase": "Running"}})
    fields = created_fields(kinds.POD, message)
    assert fields == to_fields_v1(by_json(kinds.POD, message))
    assert set(json.loads(fields)["f:metadata"]["f:finalizers"]) == {'v:"x/a"', 'v:"x/b"'}
