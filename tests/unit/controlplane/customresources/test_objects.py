"""Steps of admission that are remembered for objects of equal content still tell objects apart that their schema can."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.customresources.objects import Rules
from pinnace import codec
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource

SPEC = {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1, "maximum": 5}}}}


def rules_of(**schema: Any) -> Rules:
    return Rules("example.com/v1", "Thing", json.dumps({"type": "object", "properties": SPEC, **schema}).encode())


def thing(name: str, **spec: Any) -> CustomResource:
    return codec.decode(CustomResource, {"metadata": {"name": name, "uid": name}, "spec": spec})


def errors(rules: Rules, item: CustomResource) -> list[str]:
    rules.prepare(item, None)
    return [str(cause) for cause in (*rules.validate(item), *rules.validate_create(item))]


@pytest.mark.parametrize(
    "schema",
    [
        {"x-kubernetes-validations": [{"rule": "self.metadata.name == 'a'"}]},
        {"properties": {**SPEC, "metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a$"}}}}},
        {"allOf": [{"properties": {"metadata": {"properties": {"name": {"pattern": "^a$"}}}}}]},
    ],
)
def test_equal_objects_of_other_names_are_told_apart(schema: dict[str, Any]) -> None:
    """Where the schema can see the name."""
    rules = rules_of(**schema)
    for _ in range(2):
        assert not errors(rules, thing("a"))
        assert len(errors(rules, thing("b"))) == 1


def test_each_object_is_prepared_and_checked_by_its_own_content() -> None:
    """Defaults are filled in each time, and the metadata stays the object's."""
    rules = rules_of()
    for name in ("a", "b"):
        item = thing(name)
        assert not errors(rules, item)
        assert (codec.encode(item)["spec"], item.metadata.uid) == ({"size": 1}, name)
    assert "less than or equal to 5" in errors(rules, thing("c", size=6))[0]
    assert not errors(rules, thing("c", size=5))


def test_an_old_object_decides_what_is_an_error() -> None:
    """A rule of a change is run with each old object, and a field that the stored object has is dropped without an error."""
    sized = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    rules = rules_of(properties={"spec": {"type": "object", "properties": {"size": sized}}})
    new, small, large = thing("a", size=2), thing("a", size=1), thing("a", size=3)
    assert not rules.validate_update(small, new)
    assert len(rules.validate_update(large, new)) == 1
    assert not rules.validate_create(new)
    changed = thing("a", size=2, colour="red")
    rules.prepare(changed, thing("a", colour="red"))
    assert changed == new
