"""JSON text to the values of a builder.

YAML is nearly a superset of JSON, but folds lines inside strings at U+0085 and U+2028, knows no surrogate pairs and
limits keys to 1,024 characters. So JSON is read as JSON, without recursion.
"""

from __future__ import annotations

import json.decoder
import re
from typing import Any

from pinnace.manifest.building import Builder

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_LITERALS = {"true": True, "false": False, "null": None}
_SURROGATE = re.compile("[\ud800-\udfff]")
# Longest number that is read as digits: more than any 64-bit integer or float needs.
_LONGEST = 1_000
_scanstring: Any = getattr(json.decoder, "scanstring")  # noqa: B009  (typeshed does not list it)


class NotJson(ValueError):
    """The text is not JSON; it may still be YAML."""


class Reader:
    """One value of a text at a time; `end` is behind the last one, `position` where the next begins."""

    def __init__(self, text: str, line: int) -> None:
        self._text = text
        # Newlines up to here are counted into the line already: each is counted once.
        self._counted = 0
        self._line = line
        self.end = 0
        self.position = self._skip(0)

    @property
    def line(self) -> int:
        """The line of `position`."""
        self._line += self._text.count("\n", self._counted, self.position)
        self._counted = max(self._counted, self.position)
        return self._line

    def at_object(self) -> bool:
        return self._text.startswith("{", self.position)

    def read(self, builder: Builder) -> None:
        """Feed one value to `builder` and move behind it. Raises NotJson; `position` is then anywhere."""
        # Of each open container the bracket that closes it.
        closers: list[str] = []
        opened = self._value(builder, closers)
        while closers:
            if self._take(closers[-1]):
                closers.pop()
                builder.close()
                opened = False
                continue
            if not opened:
                self._expect(",")
            if closers[-1] == "}":
                self._string(builder)
                self._expect(":")
            opened = self._value(builder, closers)

    def _value(self, builder: Builder, closers: list[str]) -> bool:
        """Whether it began a container."""
        first = self._text[self.position : self.position + 1]
        if first in ("{", "["):
            builder.open({} if first == "{" else [], self.line)
            self._move(self.position + 1)
            closers.append("}" if first == "{" else "]")
            return True
        if first == '"':
            self._string(builder)
        else:
            self._bare(builder)
        return False

    def _string(self, builder: Builder) -> None:
        if not self._text.startswith('"', self.position):
            raise NotJson
        try:
            value, end = _scanstring(self._text, self.position + 1, True)
        except ValueError:
            raise NotJson from None
        # A lone surrogate is the replacement character, as in Go.
        builder.scalar(_SURROGATE.sub("\ufffd", value), self.line)
        self._move(end)

    def _bare(self, builder: Builder) -> None:
        for word, value in _LITERALS.items():
            if self._take(word):
                builder.scalar(value, self.line)
                return
        found = _NUMBER.match(self._text, self.position)
        if found is None:
            raise NotJson
        text = found[0]
        whole = found[2] is None and found[3] is None and len(text) < _LONGEST
        builder.scalar(int(text) if whole else float(text), self.line)
        self._move(found.end())

    def _take(self, word: str) -> bool:
        found = self._text.startswith(word, self.position)
        if found:
            self._move(self.position + len(word))
        return found

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise NotJson

    def _move(self, index: int) -> None:
        self.end = index
        self.position = self._skip(index)

    def _skip(self, index: int) -> int:
        found = _SPACE.match(self._text, index)
        assert found is not None
        return found.end()
