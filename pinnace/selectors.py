"""Label selectors (text and LabelSelector objects) and field selectors, as Kubernetes reads them.

Source: the label selector grammar of the Kubernetes concepts documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pinnace.errors import BadRequest

_SET = re.compile(r"\s*(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)\s*\Z")
_EQUAL = re.compile(r"\s*(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s!=,()]*)\s*\Z")
_EXISTS = re.compile(r"\s*(?P<bang>!?)\s*(?P<key>[^\s!=,()]+)\s*\Z")
# Possessive, so that a long selector costs one pass.
_PART = re.compile(r"(?:\([^()]*\)|[^,])++")
# Longest selector that is looked at, in characters.
MAX_TEXT = 64 << 10


@dataclass(frozen=True, slots=True)
class Requirement:
    """`key operator values`; the operator is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        present = self.key in labels
        match self.operator:
            case "In":
                return present and labels[self.key] in self.values
            case "NotIn":
                return not present or labels[self.key] not in self.values
            case "Exists":
                return present
            case "DoesNotExist":
                return not present
        return present and _compare(self.operator, labels[self.key], self.values)


def _compare(operator: str, value: str, bounds: tuple[str, ...]) -> bool:
    try:
        number, bound = int(value), int(bounds[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else number < bound


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The requirements of `a=b,c in (d,e),!f`. Raises BadRequest."""
    _check_length(text)
    return tuple(_requirement(part.strip()) for part in _PART.findall(text) if part.strip())


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise BadRequest(f"the selector is longer than {MAX_TEXT} characters")


def _requirement(part: str) -> Requirement:
    if match := _SET.match(part):
        values = tuple(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], "In" if match["op"] == "in" else "NotIn", values)
    if match := _EQUAL.match(part):
        return Requirement(match["key"], "NotIn" if match["op"] == "!=" else "In", (match["value"],))
    if match := _EXISTS.match(part):
        return Requirement(match["key"], "DoesNotExist" if match["bang"] else "Exists")
    raise BadRequest(f'cannot parse the label selector at "{part[:80]}"')


def matches_labels(requirements: tuple[Requirement, ...], labels: Mapping[str, str]) -> bool:
    return all(requirement.matches(labels) for requirement in requirements)


_FIELDS: dict[str, Callable[[Any], str]] = {
    "metadata.name": lambda o: o.metadata.name,
    "metadata.namespace": lambda o: o.metadata.namespace,
}
_KIND_FIELDS: dict[str, dict[str, Callable[[Any], str]]] = {
    "Pod": {
        "spec.nodeName": lambda o: o.spec.nodeName,
        "spec.restartPolicy": lambda o: o.spec.restartPolicy,
        "spec.schedulerName": lambda o: o.spec.schedulerName,
        "status.phase": lambda o: o.status.phase,
        "status.podIP": lambda o: o.status.podIP,
    },
    "Event": {
        "involvedObject.kind": lambda o: o.involvedObject.kind,
        "involvedObject.name": lambda o: o.involvedObject.name,
        "involvedObject.namespace": lambda o: o.involvedObject.namespace,
        "involvedObject.uid": lambda o: o.involvedObject.uid,
        "reason": lambda o: o.reason,
        "type": lambda o: o.type,
    },
    "Node": {"spec.unschedulable": lambda o: "true" if o.spec.unschedulable else "false"},
    "Secret": {"type": lambda o: o.type},
    "Namespace": {"status.phase": lambda o: o.status.phase},
}


def parse_fields(kind: str, text: str) -> Callable[[Any], bool]:
    """A test of an object for `status.phase=Running,metadata.name!=x`. Raises BadRequest on a field without index."""
    _check_length(text)
    tests: list[Callable[[Any], bool]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _EQUAL.match(part)
        getter = (_FIELDS | _KIND_FIELDS.get(kind, {})).get(match["key"]) if match else None
        if match is None or getter is None:
            known = ", ".join(sorted(_FIELDS | _KIND_FIELDS.get(kind, {})))
            raise BadRequest(f'field selector "{part[:80]}" is not supported for {kind} (known fields: {known})')
        tests.append(_field_test(getter, match["value"], wanted=match["op"] != "!="))
    return lambda item: all(test(item) for test in tests)


def _field_test(getter: Callable[[Any], str], value: str, *, wanted: bool) -> Callable[[Any], bool]:
    return lambda item: (getter(item) == value) is wanted
