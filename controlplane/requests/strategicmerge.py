"""Strategic merge patches: Kubernetes' merge patch that merges lists, by the strategy and the merge key of the schema.

Directives in a patch: `$patch: replace|delete|merge` in an object or a list's item, `$retainKeys` in an object, and beside a
list `$setElementOrder/LIST` and `$deleteFromPrimitiveList/LIST`.
Source: apimachinery's pkg/util/strategicpatch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pinnace.codec import describe
from pinnace.errors import BadRequest
from pinnace.schematree import LIST, MAP, STRUCT, Node

DIRECTIVE, RETAIN = "$patch", "$retainKeys"
ORDER, DELETE = "$setElementOrder/", "$deleteFromPrimitiveList/"
Items = list[Any]


def strategic(node: Node, value: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`value`, a STRUCT or a MAP, with the patch. Pure. Raises BadRequest."""
    directive = change.get(DIRECTIVE)
    if directive == "replace":
        return {key: item for key, item in change.items() if key != DIRECTIVE}
    if directive == "delete":
        return {}
    _check_directive(directive)
    out = _retained(value, change)
    orders = {key[len(ORDER) :]: item for key, item in change.items() if key.startswith(ORDER)}
    deletions = {key[len(DELETE) :]: item for key, item in change.items() if key.startswith(DELETE)}
    fields = {key: item for key, item in change.items() if not _is_directive(key)}
    for key in {**deletions, **orders, **fields}:
        child = node.child(key)
        if key in fields and fields[key] is None:
            out.pop(key, None)
        elif child is not None and child.form == LIST and "merge" in child.strategy:
            if key in out or key in fields:
                out[key] = _merged_list(
                    child, key, out.get(key) or [], fields.get(key, []), deletions.get(key), orders.get(key)
                )
        elif key in fields:
            out[key] = _merged(child, out.get(key), fields[key])
    return out


def _check_directive(directive: Any) -> None:
    if directive not in (None, "merge"):
        raise BadRequest(f"{DIRECTIVE}: expected replace, delete or merge, got {describe(directive)}")


def _is_directive(key: str) -> bool:
    return key in (DIRECTIVE, RETAIN) or key.startswith((ORDER, DELETE))


def _retained(value: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A copy of `value` with the keys of `$retainKeys` alone."""
    if RETAIN not in change:
        return dict(value)
    keys = change[RETAIN]
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise BadRequest(f"{RETAIN}: expected a list of strings, got {describe(keys)}")
    for key, item in change.items():
        if item is not None and key not in keys and not _is_directive(key):
            raise BadRequest(f"{RETAIN}: the patch sets {key}, which is not in the list")
    return {key: item for key, item in value.items() if key in keys}


def _merged(node: Node | None, value: Any, change: Any) -> Any:
    if node is None or node.form not in (STRUCT, MAP) or "replace" in node.strategy or not isinstance(change, dict):
        # A wrong type is for the decoder to name.
        return change
    # Also where there is nothing yet, so that directives and nulls below are understood.
    return strategic(node, value if isinstance(value, dict) else {}, change)


def _merged_list(node: Node, name: str, value: Items, change: Any, deletions: Any, order: Any) -> Any:
    for directive, given in ((DELETE, deletions), (ORDER, order)):
        if given is not None and not isinstance(given, list):
            raise BadRequest(f"{directive}{name}: expected a list, got {describe(given)}")
    if not isinstance(change, list):
        return change
    identify = _identity(node, name)
    if node.merge_key:
        change, kept, whole = _without_directives(change, value, identify)
        if whole:
            return change
        merged = _merged_items(node, kept, change, identify)
    else:
        gone = set(map(identify, deletions or []))
        kept = [item for item in value if identify(item) not in gone]
        merged = list({identify(item): item for item in (*kept, *change)}.values())
    wanted = list(map(identify, change))
    if order is not None:
        wanted = _checked_order(name, list(map(identify, order)), wanted)
    return _ordered(merged, wanted, list(map(identify, value)), identify)


def _identity(node: Node, name: str) -> Callable[[Any], Any]:
    """What tells an item from the others; a bool is no number."""

    def identify(item: Any) -> tuple[type, Any]:
        found = item
        if node.merge_key:
            if not isinstance(item, dict):
                raise BadRequest(f"{name}: expected objects, got {describe(item)}")
            if item.get(node.merge_key) is None:
                raise BadRequest(f"{name}: an item does not have the merge key {node.merge_key}")
            found = item[node.merge_key]
        if isinstance(found, (dict, list)):
            raise BadRequest(f"{name}: expected scalars, got {describe(found)}")
        return (bool if isinstance(found, bool) else object, found)

    return identify


def _without_directives(change: Items, value: Items, identify: Callable[[Any], Any]) -> tuple[Items, Items, bool]:
    """The patch's plain items, the present ones that it does not delete, and whether it replaces the list."""
    whole, gone, plain = False, set(), []
    for item in change:
        directive = item.get(DIRECTIVE) if isinstance(item, dict) else None
        if directive == "replace":
            whole = True
            continue
        if directive == "delete":
            gone.add(identify(item))
            continue
        _check_directive(directive)
        plain.append(item if directive is None else {key: inner for key, inner in item.items() if key != DIRECTIVE})
    return plain, [item for item in value if not gone or identify(item) not in gone], whole


def _merged_items(node: Node, value: Items, change: Items, identify: Callable[[Any], Any]) -> Items:
    """Items by key: the first of several with one key is patched."""
    out = list(value)
    places: dict[Any, int] = {}
    for at, item in enumerate(value):
        places.setdefault(identify(item), at)
    for item in change:
        key = identify(item)
        at = places.setdefault(key, len(out))
        if at == len(out):
            out.append({})
        out[at] = _merged(node.element, out[at], item)
    return out


def _checked_order(name: str, order: Items, wanted: Items) -> Items:
    """`order`, in which the patch's items come in their own order. Raises BadRequest."""
    rest = iter(order)
    if order and not all(any(key == place for place in rest) for key in wanted):
        raise BadRequest(f"{ORDER}{name}: it does not have the items of the patch in their order")
    return order


def _ordered(items: Items, wanted: Items, present: Items, identify: Callable[[Any], Any]) -> Items:
    """The items that `wanted` names in its order, and the others in theirs, each before the first that it was before."""
    ranks: dict[Any, int] = {}
    were: dict[Any, int] = {}
    for places, keys in ((ranks, wanted), (were, present)):
        for at, key in enumerate(keys):
            places.setdefault(key, at)
    named = sorted((item for item in items if identify(item) in ranks), key=lambda item: ranks[identify(item)])
    others = [item for item in items if identify(item) not in ranks]
    others.sort(key=lambda item: were.get(identify(item), len(were)))
    out: Items = []
    at = 0
    for item in named:
        place = were.get(identify(item))
        while place is not None and at < len(others) and were.get(identify(others[at]), len(were)) < place:
            out.append(others[at])
            at += 1
        out.append(item)
    return out + others[at:]
