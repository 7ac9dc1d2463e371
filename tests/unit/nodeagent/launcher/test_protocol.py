"""The launcher's JSON shapes are written twice, for the agent's dataclasses load what monitors must not: they agree."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from typing import Any

import pytest

from nodeagent.launcher import protocol
from nodeagent.runtime import interface


def shapes() -> dict[str, set[str]]:
    """The fields of every class in the block that only mypy reads."""
    tree = ast.parse(inspect.getsource(protocol))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    own = {
        found.name: {
            item.target.id for item in found.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        for found in classes
    }
    bases = {found.name: [base.id for base in found.bases if isinstance(base, ast.Name)] for found in classes}
    return {name: fields.union(*(own.get(base, set()) for base in bases[name])) for name, fields in own.items()}


@pytest.mark.parametrize(
    ("shape", "cls", "more"),
    [
        ("Config", interface.ContainerConfig, set()),
        ("Mount", interface.Mount, set()),
        ("Terminal", interface.Terminal, set()),
        ("Ids", interface.IdRange, set()),
        ("Sandbox", interface.SandboxConfig, {"id", "op"}),
    ],
)
def test_a_shape_has_exactly_the_fields_of_its_dataclass(shape: str, cls: Any, more: set[str]) -> None:
    assert shapes()[shape] == {field.name for field in fields(cls)} | more
