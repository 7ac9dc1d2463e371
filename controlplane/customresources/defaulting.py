"""Defaulting: fill absent fields, and null ones that may not be null, from the defaults of a schema.

Source: apiextensions-apiserver's schema/defaulting.
"""

from __future__ import annotations

import copy
from typing import Any

from controlplane.customresources.structural import UNSET, Structural


def apply_defaults(value: Any, schema: Structural) -> bool:
    """Fill an object in place; returns whether that changed it. Values that are absent stay absent unless they have a default
    themselves."""
    if not schema.defaulted:
        return False
    changed = False
    if isinstance(value, list):
        for item in value if schema.items is not None else ():
            assert schema.items is not None
            changed |= apply_defaults(item, schema.items)
    elif isinstance(value, dict):
        changed = _fill(value, schema)
        for key, item in value.items():
            child = schema.child(key)
            if child is not None:
                changed |= apply_defaults(item, child)
    return changed


def _fill(value: dict[str, Any], schema: Structural) -> bool:
    changed = False
    for key, child in schema.properties.items():
        given = value.get(key, UNSET)
        if given is UNSET or (given is None and not child.nullable):
            if child.default is not UNSET:
                value[key] = copy.deepcopy(child.default)
                changed = True
    if isinstance(schema.additional, Structural) and schema.additional.default is not UNSET and not schema.additional.nullable:
        for key in [key for key, item in value.items() if item is None]:
            value[key] = copy.deepcopy(schema.additional.default)
            changed = True
    return changed


def prune_nulls(value: Any, schema: Structural) -> bool:
    """Remove null fields that may not be null and have no default, as Kubernetes does after pruning; returns whether there was
    one."""
    changed = False
    if isinstance(value, list):
        for item in value if schema.items is not None else ():
            assert schema.items is not None
            changed |= prune_nulls(item, schema.items)
    elif isinstance(value, dict):
        for key, item in list(value.items()):
            child = schema.child(key) if item is None or isinstance(item, dict | list) else None
            if child is None:
                continue
            if item is not None:
                changed |= prune_nulls(item, child)
            elif not child.nullable and child.default is UNSET and key in schema.properties:
                del value[key]
                changed = True
    return changed
