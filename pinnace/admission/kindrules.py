"""What admission checks of the objects of one kind, as functions of the objects alone.

kctl and the agent check manifests by the same rules as the server, so that nothing here may know of other objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from pinnace import formats
from pinnace.errors import Cause
from pinnace.formats import Check

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")


def _nothing(*_: Any) -> None:
    return None


def _accept(*_: Any) -> list[Cause]:
    return []


@dataclass(frozen=True)
class KindRules(Generic[T]):
    """The rules of a kind that field options cannot say. Every function is pure but for the object that it may change."""

    # Before the defaults of field options, with the object that an update replaces: older forms become the newer ones.
    prepare: Callable[[T, T | None], None] = _nothing
    # After the defaults of field options: defaults that depend on other fields.
    default: Callable[[T], None] = _nothing
    validate: Callable[[T], list[Cause]] = _accept
    # Rules of new objects only.
    validate_create: Callable[[T], list[Cause]] = _accept
    # Of the old object and the new one.
    validate_update: Callable[[T, T], list[Cause]] = _accept
    # Of the object with the new status, and the old object.
    validate_status: Callable[[T, T], list[Cause]] = _accept
    # The syntax of metadata.name.
    name: Check = formats.dns_subdomain
