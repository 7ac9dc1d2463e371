"""Items of an applied configuration that share a key, which Kubernetes refuses.

Objects may have such items, as other writes are accepted with a warning. A configuration in which one field stands twice does
not state what its manager wants.

Source: `visitListItems` of structured-merge-diff's typed/validate.go, and `Apply` of apimachinery's structuredmerge.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from controlplane.requests.fieldwalk import element_of
from pinnace.errors import BadRequest
from pinnace.kinds import Kind
from pinnace.schematree import LIST, MAP, STRUCT, Node, of_kind

# Duplicates that one error lists.
MAX_LISTED = 20


def refuse(kind: Kind, manifest: dict[str, Any], namespace: str, name: str) -> None:
    """Raises BadRequest. Values that do not fit the schema are not looked at."""
    refuse_errors(kind, list(islice(_found(of_kind(kind), manifest), MAX_LISTED)), namespace, name)


def refuse_errors(kind: Kind, found: list[str], namespace: str, name: str) -> None:
    """As Kubernetes refuses a configuration that does not fit the schema. Raises BadRequest if there are errors."""
    if found:
        listed = found[0] if len(found) == 1 else "".join(["errors:", *(f"\n  {text}" for text in found[:MAX_LISTED])])
        place = f"{namespace}/{name}; {kind.group}/{kind.version}, Kind={kind.kind}"
        raise BadRequest(f"failed to create typed patch object ({place}): {listed}")


def _found(root: Node, manifest: dict[str, Any]) -> Iterator[str]:
    pending: list[tuple[str, Node, Any]] = [("", root, manifest)]
    while pending:
        path, node, value = pending.pop()
        if node.leaf:
            continue
        if node.form == LIST and isinstance(value, list):
            yield from _among(path, node, value)
            if not node.set and node.element is not None:
                pending += [
                    (path + _shown(element_of(node, item)), node.element, item) for item in value if isinstance(item, dict)
                ]
        elif node.form in (STRUCT, MAP) and isinstance(value, dict):
            below = ((key, node.child(key), item) for key, item in value.items())
            pending += [(f"{path}.{key}", child, item) for key, child, item in below if child is not None]


def _among(path: str, node: Node, items: list[Any]) -> Iterator[str]:
    seen, told = set[str](), set[str]()
    for item in items:
        if isinstance(item, dict) == node.set:
            continue
        element = element_of(node, item)
        if element in seen and element not in told:
            told.add(element)
            yield f"{path}: duplicate entries for key {_shown(element)}"
        seen.add(element)


def _shown(element: str) -> str:
    """A path element as structured-merge-diff prints it: `[name="a"]`, `[="x"]`."""
    if element.startswith("v:"):
        return f"[={element[2:]}]"
    keys = json.loads(element[2:])
    return f"[{','.join(f'{name}={json.dumps(value, ensure_ascii=False)}' for name, value in keys.items())}]"
