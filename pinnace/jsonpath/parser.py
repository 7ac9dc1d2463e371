"""From a template's text to its nodes.

Bounded: a template has at most MAX_LENGTH characters, and filters and ranges nest at most MAX_DEPTH deep.
"""

from __future__ import annotations

import re

from pinnace.errors import BadRequest
from pinnace.jsonpath.nodes import Block, Descent, Field, Filter, Key, Literal, Path, Range, Slice, Step, Union, Wildcard
from pinnace.jsonpath.quoting import Unquotable, unquote
from pinnace.jsonpath.scanning import after_bracket, after_quote, scan, split

MAX_LENGTH = 64 << 10
MAX_DEPTH = 32
# An index or step has at most so many digits: the longest list has fewer items.
MAX_DIGITS = 12
OPERATORS = ("==", "!=", "<=", ">=", "<", ">")
_TERMINATORS = frozenset(" \t\r\n.,[]$@{}")
_SLICE = re.compile(r"(-?\d*)(?::(-?\d*))?(?::(-?\d*))?\Z", re.ASCII)
_NUMBER = re.compile(r"[+-]?[\d.]*", re.ASCII)
_OPERATOR = re.compile(r"[!<>=]+")
_KEYWORD = re.compile(r" *(range|end)(?=[\s.,\[\]$@{}])")


class _Syntax(Exception):
    """Why a template cannot be parsed."""


def parse(template: str) -> Block:
    """Raises BadRequest."""
    if len(template) > MAX_LENGTH:
        raise BadRequest(f"a jsonpath template has at most {MAX_LENGTH} characters")
    try:
        return _Template(template).parse()
    except (_Syntax, Unquotable) as error:
        shown = template if len(template) <= 200 else template[:200] + "..."
        raise BadRequest(f"error parsing jsonpath {shown}, {error}") from None


class _Template:
    """Texts and {...}, and the ranges that they make."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def parse(self) -> Block:
        block, ended = self._block(0)
        if ended:
            raise _Syntax("not in range, nothing to end")
        return block

    def _block(self, depth: int) -> tuple[Block, bool]:
        """Up to its {end}, or to the end of the text."""
        if depth > MAX_DEPTH:
            raise _Syntax(f"ranges nest at most {MAX_DEPTH} deep")
        parts: list[str | Path | Range] = []
        while self._position < len(self._text):
            start = self._text.find("{", self._position)
            if start != self._position:
                parts.append(self._text[self._position : start if start >= 0 else None])
                self._position = start if start >= 0 else len(self._text)
                continue
            action = _Action(self._text, start + 1)
            keyword, path = action.keyword(), action.path(end="}")
            self._position = action.position
            if keyword == "end":
                return Block(tuple(parts)), True
            if keyword == "range":
                body, ended = self._block(depth + 1)
                if not ended:
                    raise _Syntax("{range} without {end}")
                parts.append(Range(path, body))
            else:
                parts.append(path)
        return Block(tuple(parts)), False


class _Action:
    """The inside of a {...}, of a filter's side, or of a key that is a path."""

    def __init__(self, text: str, position: int = 0, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise _Syntax(f"filters nest at most {MAX_DEPTH} deep")
        self._text, self.position, self._depth = text, position, depth

    def keyword(self) -> str:
        """`range` or `end` at the start, which is then consumed."""
        match = _KEYWORD.match(self._text, self.position)
        if match is None:
            return ""
        self.position = match.end()
        return match[1]

    def path(self, *, end: str) -> Path:
        """Up to and with `end`, or to the end of the text for an empty one."""
        steps: list[Step] = []
        while True:
            char = self._text[self.position : self.position + 1]
            if char == end:
                self.position += 1
                return Path(tuple(steps))
            if char in ("", "\r", "\n"):
                raise _Syntax("unclosed action")
            if char in " @$":
                self.position += 1
            else:
                steps += self._steps(char, steps)

    def _steps(self, char: str, before: list[Step]) -> list[Step]:
        rest = self._text[self.position : self.position + 2]
        if rest == "..":
            if before and isinstance(before[-1], Descent):
                raise _Syntax("invalid multiple recursive descent")
            self.position += 2
            named = self._text[self.position : self.position + 1]
            return [Descent(), self._field()] if named in ("_", "*") or named.isalnum() else [Descent()]
        if char == ".":
            self.position += 1
            return [self._field()]
        if char == "[":
            return self._brackets()
        if char in "\"'":
            return [Literal(unquote(self._quoted()))]
        if char in "+-" or char.isdigit():
            return [self._number()]
        if char == "_" or char.isalpha():
            return [self._identifier()]
        raise _Syntax(f"unrecognized character in action: U+{ord(char):04X} {char!r}")

    def _word(self) -> str:
        """Up to a terminator that no backslash escapes."""
        start = self.position
        while self.position < len(self._text) and (char := self._text[self.position]) not in _TERMINATORS:
            self.position += 2 if char == "\\" else 1
        return self._text[start : self.position]

    def _field(self) -> Step:
        word = self._word()
        return Wildcard() if word == "*" else Field(word.replace("\\", ""))

    def _identifier(self) -> Step:
        word = self._word()
        if word not in ("true", "false"):
            raise _Syntax(f"unrecognized identifier {word[:80]} (a field starts with a dot, a text stands in quotes)")
        return Literal(word == "true")

    def _number(self) -> Step:
        match = _NUMBER.match(self._text, self.position)
        text = match[0] if match else ""
        self.position += len(text)
        try:
            return Literal(int(text) if "." not in text and len(text) <= MAX_DIGITS else float(text))
        except ValueError:
            raise _Syntax(f"cannot parse number {text[:80]}") from None

    def _quoted(self) -> str:
        """A text with its quotes."""
        start = self.position
        self.position = after_quote(self._text, start)
        if self.position < 0:
            raise _Syntax("unterminated quoted string")
        return self._text[start : self.position]

    def _brackets(self) -> list[Step]:
        start, is_filter = self.position, self._text.startswith("[?(", self.position)
        self.position = after_bracket(self._text, start)
        if self.position < 0:
            raise _Syntax("unterminated filter" if is_filter else "unterminated array")
        inside = self._text[start + 1 : self.position - 1]
        if is_filter:
            return [self._filter(inside)]
        parts = split(inside, ",")
        if len(parts) == 1:
            return [self._subscript(inside)]
        return [Union(tuple(Path((self._subscript(part.strip(" ")),)) for part in parts))]

    def _subscript(self, text: str) -> Step:
        if text == "*":
            # As in kubectl of lists only; of an object's values it is `.*`.
            return Slice(None, None, None)
        if len(text) > 1 and text[0] in "\"'" and after_quote(text, 0) == len(text):
            return self._key(text[1:-1])
        match = _SLICE.match(text.strip(" "))
        if match is None or max(map(len, match.groups(""))) > MAX_DIGITS or "-" in match.groups():
            raise _Syntax(f"invalid array index {text[:80]}")
        start, stop, step = (int(group) if group else None for group in match.groups())
        if match[2] is None:
            return Slice(start or 0, None, None, single=True)
        return Slice(start, stop, step)

    def _key(self, text: str) -> Step:
        if text == "*":
            return Wildcard()
        try:
            path = self._side(f".{text}")
        except (_Syntax, Unquotable):
            path = None
        return Key(text.replace("\\", ""), path)

    def _filter(self, inside: str) -> Step:
        if not inside.endswith(")") or after_bracket(inside, 1) != len(inside):
            raise _Syntax("unclosed array expect ]")
        text = inside[2:-1]
        found = _operator(text)
        if found is None:
            return Filter(self._side(text), "", Path(()))
        if found[0] not in OPERATORS:
            raise _Syntax(f"unrecognized filter operator {found[0]} (there are: {' '.join(OPERATORS)})")
        left, right = text[: found.start()], text[found.end() :]
        if not left.strip() or not right.strip():
            raise _Syntax(f"a side of the filter ({text[:80]}) is empty")
        return Filter(self._side(left), found[0], self._side(right))

    def _side(self, text: str) -> Path:
        """A path that is all of `text`: a closing brace ends it, and one in the text itself is no part of it."""
        action = _Action(text + "}", 0, self._depth + 1)
        path = action.path(end="}")
        if action.position != len(text) + 1:
            raise _Syntax("unrecognized character in action: U+007D '}'")
        return path


def _operator(text: str) -> re.Match[str] | None:
    """The comparison that stands in no brackets and no quotes."""
    found = next((index for index, char, depth in scan(text, 0) if char in "!<>=" and not depth), None)
    return None if found is None else _OPERATOR.match(text, found)
