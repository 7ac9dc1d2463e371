"""Dataclasses as JSON, without a copy of what is in them: `dataclasses.asdict` takes a millisecond for a container."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def shallow(value: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass by name; the values are shared."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def dumps(value: Any) -> bytes:
    """JSON of what has dataclasses in it, or is one. Raises TypeError for what JSON has no form of."""
    return json.dumps(value, default=shallow).encode()
