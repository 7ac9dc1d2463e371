"""Pod disruption budgets from flags. Pure.

Source: kubectl's pkg/cmd/create/create_pdb.go.
"""

from __future__ import annotations

import re
from typing import Any

from pinnace import selectors
from pinnace.errors import BadRequest

_NUMBER, _PERCENT = re.compile(r"[0-9]{1,9}"), re.compile(r"[0-9]{1,9}%")


def add_budget(parser: Any) -> None:
    parser.add_argument("--selector", default="", help="label selector of the pods, such as app=web")
    parser.add_argument("--min-available", default="", help="least number or percentage of available pods")
    parser.add_argument("--max-unavailable", default="", help="greatest number or percentage of unavailable pods")


def budget(args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest."""
    bounds = {"min-available": args.min_available, "max-unavailable": args.max_unavailable}
    given = [(name, text) for name, text in bounds.items() if text]
    if not args.selector:
        raise BadRequest("a selector must be specified")
    if not given:
        raise BadRequest("one of min-available or max-unavailable must be specified")
    if len(given) > 1:
        raise BadRequest("min-available and max-unavailable cannot be both specified")
    [(name, text)] = given
    if not _NUMBER.fullmatch(text) and not _PERCENT.fullmatch(text):
        raise BadRequest(f"invalid format specified for {name}")
    field = "minAvailable" if name == "min-available" else "maxUnavailable"
    return {"spec": {"selector": _selector(args.selector), field: int(text) if text.isdigit() else text}}


def _selector(text: str) -> dict[str, Any]:
    """A LabelSelector. Raises BadRequest."""
    labels, expressions = {}, []
    for item in selectors.parse_labels(text):
        if item.operator == "In" and len(item.values) == 1 and item.key not in labels:
            labels[item.key] = item.values[0]
        else:
            values = {"values": list(item.values)} if item.values else {}
            expressions.append({"key": item.key, "operator": item.operator, **values})
    return {key: value for key, value in (("matchLabels", labels), ("matchExpressions", expressions)) if value}
