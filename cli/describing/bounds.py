"""`kctl describe` of limit ranges and quotas: tables as kubectl prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli import tables
from cli.describing.lines import head, line
from pinnace.kinds import Kind

_COLUMNS = ("Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio")
_FIELDS = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")


def limit_range(client: Any, kind: Kind, item: Any) -> list[str]:
    rows = [list(_COLUMNS), ["-" * len(title) for title in _COLUMNS]]
    for limit in item.spec.limits:
        names = sorted({name for field in _FIELDS for name in getattr(limit, field)})
        rows += [[limit.type, name, *(_text(getattr(limit, field), name) for field in _FIELDS)] for name in names]
    return [*head(kind, item), *tables.render(rows).splitlines()]


def resource_quota(client: Any, kind: Kind, item: Any) -> list[str]:
    scopes = [*item.spec.scopes, *(item.scopeName for item in item.spec.scopeSelector.matchExpressions)]
    rows = [["Resource", "Used", "Hard"], ["--------", "----", "----"]]
    rows += [[name, _text(item.status.used, name), value.string] for name, value in sorted(item.status.hard.items())]
    return [*head(kind, item), *([line("Scopes", ", ".join(scopes))] if scopes else []), *tables.render(rows).splitlines()]


def _text(items: Mapping[str, Any], name: str) -> str:
    return str(items[name].string) if name in items else "-"
