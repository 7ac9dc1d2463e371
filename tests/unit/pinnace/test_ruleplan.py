"""Field options, compiled: rules far below are found, in message types that contain themselves too."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pinnace import kinds, ruleplan, rules, schema
from pinnace.meta.v1 import options_pb2

STRING, MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
ONE, MANY = 1, 3


@pytest.fixture(scope="module")
def branch() -> Any:
    """Branches hold leaves and branches, leaves hold branches; only a leaf has rules."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/tree.proto", package="tests.tree", syntax="proto3")
    file.dependency.append("pinnace/meta/v1/options.proto")
    tree = file.message_type.add(name="Branch")
    tree.field.add(name="branches", number=1, type=MESSAGE, type_name=".tests.tree.Branch", label=MANY)
    tree.field.add(name="leaf", number=2, type=MESSAGE, type_name=".tests.tree.Leaf", label=ONE)
    leaf = file.message_type.add(name="Leaf")
    colour = leaf.field.add(name="colour", number=1, type=STRING, label=ONE)
    colour.options.Extensions[options_pb2.rules].CopyFrom(options_pb2.FieldRules(default="green", enum=["green", "red"]))
    leaf.field.add(name="branch", number=2, type=MESSAGE, type_name=".tests.tree.Branch", label=ONE)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.tree.Branch"))


def test_a_recursive_type_is_checked_at_every_depth(branch: Any) -> None:
    """Through itself and through another type."""
    tree = branch(branches=[{}, {"branches": [{"leaf": {"branch": {"leaf": {"colour": "blue"}}}}]}])
    rules.apply_defaults(tree)
    assert tree.branches[1].branches[0].leaf.colour == "green"
    [error] = rules.validate(tree)
    assert error.field == "branches[1].branches[0].leaf.branch.leaf.colour"


def test_a_message_without_rules_is_not_walked() -> None:
    """The plan of a ConfigMap has nothing to do in its data."""
    plan = ruleplan.of(schema.of(kinds.CONFIG_MAP.cls))
    assert "data" not in {descriptor.name for descriptor in plan.checked}
    assert not plan.defaults
    assert not plan.defaulted
