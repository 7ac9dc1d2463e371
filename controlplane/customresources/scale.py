"""The replicas of a custom object, at the paths that its definition names for the scale subresource.

Source: apiextensions-apiserver's pkg/registry/customresource (etcd.go and validator.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pinnace import codec, fielderrors
from pinnace.errors import Cause, Internal, Invalid

MAX_REPLICAS = (1 << 31) - 1
_GONE = object()


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Paths of keys such as `.spec.replicas`; `selector` is empty for a kind without one. Trees are whole objects as JSON."""

    spec: str
    status: str
    selector: str = ""

    def wanted(self, tree: dict[str, Any]) -> int | None:
        """None where the object does not say. Raises Internal for what is no number of replicas."""
        return self._replicas(tree, self.spec)

    def observed(self, tree: dict[str, Any]) -> int:
        """Raises Internal."""
        return self._replicas(tree, self.status) or 0

    def _replicas(self, tree: dict[str, Any], path: str) -> int | None:
        value = _at(tree, path)
        if value is _GONE:
            return None
        error = _replicas_error(path, value)
        if error is not None:
            # Of an object that was stored before its kind could be scaled.
            raise Internal(str(error))
        return int(value)

    def selected(self, tree: dict[str, Any]) -> str:
        """The label selector as text. Raises Internal."""
        value = _at(tree, self.selector) if self.selector else _GONE
        if value is _GONE:
            return ""
        if not isinstance(value, str):
            raise Internal(str(_selector_error(self.selector, value)))
        return value

    def put(self, tree: dict[str, Any], replicas: int) -> None:
        """Set the wanted replicas. Raises Invalid where the path leads through a value that is no object."""
        *above, last = _keys(self.spec)
        for at, key in enumerate(above):
            tree = tree.setdefault(key, {})
            if not isinstance(tree, dict):
                raise Invalid(f"the replicas cannot be set: .{'.'.join(above[: at + 1])} is not an object")
        tree[last] = replicas

    def errors(self, tree: dict[str, Any]) -> Iterator[Cause]:
        """What is wrong with the values at the paths."""
        for path in (self.spec, self.status):
            value = _at(tree, path)
            error = _replicas_error(path, value) if value is not _GONE else None
            if error is not None:
                yield error
        selector = _at(tree, self.selector) if self.selector else _GONE
        if selector is not _GONE and not isinstance(selector, str):
            yield _selector_error(self.selector, selector)


def _keys(path: str) -> list[str]:
    return path.split(".")[1:]


def _at(tree: Any, path: str) -> Any:
    for key in _keys(path):
        tree = tree.get(key, _GONE) if isinstance(tree, dict) else _GONE
    return tree


def _replicas_error(path: str, value: Any) -> Cause | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return fielderrors.invalid(path[1:], value, f"must be an integer, is {codec.describe(value)}")
    if value < 0:
        return fielderrors.invalid(path[1:], value, "should be a non-negative integer")
    if value > MAX_REPLICAS:
        return fielderrors.invalid(path[1:], value, f"should be less than or equal to {MAX_REPLICAS}")
    return None


def _selector_error(path: str, value: Any) -> Cause:
    return fielderrors.invalid(path[1:], value, f"must be a string, is {codec.describe(value)}")
