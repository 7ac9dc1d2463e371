"""Generic code names no kind: what is special about a kind stands in that kind's file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinnace import kinds

ROOT = Path(__file__).resolve().parents[3]
GENERIC = [
    *sorted((ROOT / "controlplane/requests").rglob("*.py")),
    *sorted((ROOT / "controlplane/store").rglob("*.py")),
    *(ROOT / f"controlplane/resources/{name}.py" for name in ("plugin", "registry", "resource")),
    ROOT / "controlplane/rpc/objects.py",
    *(ROOT / f"pinnace/admission/{name}.py" for name in ("__init__", "kindrules")),
    *(ROOT / f"pinnace/{name}.py" for name in ("rules", "schema", "selectors", "wellformed")),
]
CONSTANTS = {name for name, value in vars(kinds).items() if isinstance(value, kinds.Kind)} | {"ALL", "find", "by_word"}
WORDS = {word for kind in kinds.ALL for word in (kind.kind, kind.plural, kind.resource)}
# Where the words are no kinds, and why.
ALLOWED = {
    ("store.py", "ALL"): "the kinds of a store that is opened without a registry, in tests of the store",
    ("__init__.py", "Event"): "a change of an object, which the store exports",
}


def _names(path: Path) -> Iterator[str]:
    """Kinds that a module names: attributes of `pinnace.kinds`, imports from it, and strings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kinds":
            if node.attr in CONSTANTS:
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "pinnace.kinds":
            yield from (alias.name for alias in node.names if alias.name in CONSTANTS)
        elif isinstance(node, ast.Constant) and node.value in WORDS:
            yield node.value


@pytest.mark.parametrize("path", GENERIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generic_module_names_no_kind(path: Path) -> None:
    """Neither by a constant nor by a string."""
    assert [name for name in _names(path) if (path.name, name) not in ALLOWED] == []


def test_the_check_finds_names(tmp_path: Path) -> None:
    """In each of the forms."""
    module = tmp_path / "module.py"
    module.write_text('from pinnace.kinds import POD, Kind\nx = kinds.NODE\ny = z.kind == "Secret"\n')
    assert sorted(_names(module)) == ["NODE", "POD", "Secret"]
