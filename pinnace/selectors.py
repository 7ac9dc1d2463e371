"""Label selectors and field selectors in text, as Kubernetes reads them: strictly, for a misread condition selects too much.

Source: apimachinery's pkg/labels/selector.go and pkg/fields/selector.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pinnace import formats
from pinnace.errors import BadRequest

# Longest selector that is looked at, in characters.
MAX_TEXT = 64 << 10
# Requirements of one selector; each is checked for every object of a list.
MAX_REQUIREMENTS = 1000
_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!()<>,]|[^ \t\r\n=!()<>,]+|\Z)")
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt", "in": "In", "notin": "NotIn"}
_SPECIAL = frozenset(("=", "==", "!=", "!", "(", ")", "<", ">", ",", ""))
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z", re.ASCII)
_FIELD = re.compile(r"(?P<path>[^=!]*(?:!(?!=)[^=!]*)*)(?P<op>!=|==|=)(?P<value>.*)\Z", re.DOTALL)
_FIELD_PART = re.compile(r"(?:[^\\,]|\\.)++|\\\Z", re.DOTALL)


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
    number, bound = _integer(value), _integer(bounds[0]) if len(bounds) == 1 else None
    if number is None or bound is None:
        return False
    return number > bound if operator == "Gt" else number < bound


def _integer(text: str) -> int | None:
    """An int64 in decimal."""
    if not _INTEGER.match(text):
        return None
    number = int(text)
    return number if number in formats.INT64 else None


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The requirements of `a=b,c in (d,e),!f,size>5`. Raises BadRequest."""
    _check_length(text)
    return _Parser(text).parse()


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise BadRequest(f"the selector is longer than {MAX_TEXT} characters")


class _Parser:
    """Reads the tokens of one selector from left to right. Its methods raise BadRequest."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(text)
        self._at = 0

    @property
    def _ahead(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._ahead
        self._at += bool(token)
        return token

    def parse(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while self._ahead or found:
            if self._ahead in _SPECIAL and self._ahead != "!":
                raise _unexpected(self._ahead, "identifier after ','" if found else "!, identifier, or 'end of string'")
            found.append(self._requirement())
            if len(found) > MAX_REQUIREMENTS:
                raise _too_many()
            if not self._ahead:
                break
            self._expect(",", "',' or 'end of string'")
        return tuple(found)

    def _expect(self, wanted: str, expected: str) -> None:
        if self._ahead != wanted:
            raise _unexpected(self._ahead, expected)
        self._next()

    def _requirement(self) -> Requirement:
        absent = self._ahead == "!"
        if absent:
            self._next()
        key = self._identifier()
        _check("key", key, formats.qualified_name(key))
        if absent or self._ahead in ("", ","):
            return Requirement(key, "DoesNotExist" if absent else "Exists")
        token = self._next()
        if token not in _OPERATORS:
            raise _unexpected(token, "in, notin, =, ==, !=, gt, lt")
        values = self._set() if token in ("in", "notin") else (self._value(),)
        for value in values:
            _check(f"value of {key}", value, formats.label_value(value))
        if token in ("<", ">") and _integer(values[0]) is None:
            raise BadRequest("unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer")
        return Requirement(key, _OPERATORS[token], values)

    def _identifier(self) -> str:
        if self._ahead in _SPECIAL:
            raise _unexpected(self._ahead, "identifier")
        return self._next()

    def _value(self) -> str:
        return "" if self._ahead in ("", ",") else self._identifier()

    def _set(self) -> tuple[str, ...]:
        """`(a,b)`; a value may be empty."""
        self._expect("(", "'('")
        values: dict[str, None] = {}
        while True:
            values["" if self._ahead in (",", ")") else self._identifier()] = None
            if self._ahead == ")":
                self._next()
                return tuple(values)
            self._expect(",", "',' or ')'")


def _unexpected(token: str, expected: str) -> BadRequest:
    return BadRequest(f"unable to parse requirement: found '{token[:80]}', expected: {expected}")


def _check(what: str, text: str, errors: list[str]) -> None:
    if errors:
        raise BadRequest(f'unable to parse requirement: {what}: Invalid value: "{text[:80]}": {"; ".join(errors)}')


def _too_many() -> BadRequest:
    return BadRequest(f"the selector has more than {MAX_REQUIREMENTS} requirements")


def matches_labels(requirements: tuple[Requirement, ...], labels: Mapping[str, str]) -> bool:
    return all(requirement.matches(labels) for requirement in requirements)


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """The field at `path` has the `value`, or if not `wanted`, another one."""

    path: str
    value: str
    wanted: bool


def split_fields(text: str) -> tuple[FieldRequirement, ...]:
    r"""The requirements of `status.phase=Running,metadata.name!=x`; a value has `,`, `=` and `\` escaped by `\`.

    Raises BadRequest."""
    _check_length(text)
    found: list[FieldRequirement] = []
    for part in _FIELD_PART.findall(text):
        match = _FIELD.match(part)
        if match is None:
            raise BadRequest(f"invalid selector: '{text[:80]}'; can't understand '{part[:80]}'")
        if len(found) == MAX_REQUIREMENTS:
            raise _too_many()
        found.append(FieldRequirement(match["path"], _unescaped(match["value"]), match["op"] != "!="))
    return tuple(found)


def _unescaped(value: str) -> str:
    if re.fullmatch(r"(?:[^\\,=]|\\[\\,=])*+", value, re.DOTALL) is None:
        raise BadRequest(f"invalid field selector: '{value[:80]}' has an invalid escape sequence or an unescaped = in it")
    return re.sub(r"\\(.)", r"\1", value)


def parse_fields(kind: str, text: str, fields: Mapping[str, Callable[[Any], str]]) -> Callable[[Any], bool]:
    """A test of an object for the requirements in `text`, by the selectable fields of its kind.

    Raises BadRequest on another field."""
    tests: list[Callable[[Any], bool]] = []
    for item in split_fields(text):
        getter = fields.get(item.path)
        if getter is None:
            known = ", ".join(sorted(fields))
            raise BadRequest(f'field selector "{item.path[:80]}" is not supported for {kind} (known fields: {known})')
        tests.append(_field_test(getter, item.value, wanted=item.wanted))
    return lambda item: all(test(item) for test in tests)


def _field_test(getter: Callable[[Any], str], value: str, *, wanted: bool) -> Callable[[Any], bool]:
    return lambda item: (getter(item) == value) is wanted
