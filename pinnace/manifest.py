"""Manifests: YAML or JSON text to plain values, remembering on which line each path stands.

YAML is read as events, never through a recursive composer, and every way to make a small file big is bounded: size,
depth, values after aliases. Scalars resolve as they do in Kubernetes (YAML 1.1 booleans and octal integers).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from pinnace.codec import MAX_DEPTH, join, segment
from pinnace.errors import Cause, Invalid

MAX_BYTES = 16 << 20
MAX_VALUES = 1_000_000
# Longer paths have no line of their own: a million of them would be gigabytes.
MAX_PATH = 1_000
# JSON writes a character beyond U+FFFF as two escapes, which YAML does not know.
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+|\d+)\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?\Z", re.ASCII)
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
for _word, _truth in (("true", True), ("yes", True), ("on", True), ("false", False), ("no", False), ("off", False)):
    _WORDS |= {_word: _truth, _word.capitalize(): _truth, _word.upper(): _truth}


@dataclass(slots=True)
class Document:
    """One YAML document. `lines` maps a path such as `spec.containers[0].image` to its line, counted from 1."""

    source: str
    value: Any
    line: int
    lines: dict[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of `path`, or of its nearest parent that has one."""
        while path:
            if path in self.lines:
                return self.lines[path]
            parent = re.sub(r"(\.[^.\[\]]*|\[[^\]]*\]|^[^.\[]*)\Z", "", path)
            # A path with brackets in its keys, or cut off on its way, has no such end.
            path = parent if len(parent) < len(path) else path[:-1]
        return self.line

    def locate(self, cause: Cause) -> str:
        """`pod.yaml:14: spec.containers[0].image: ...`, as compilers write it."""
        return f"{self.source}:{self.line_of(cause.field)}: {cause}"


def load(data: bytes, source: str) -> list[Document]:
    """Every document of a stream, empty ones left out. Raises Invalid with `source:line:` in its message."""
    if len(data) > MAX_BYTES:
        raise _fault(source, 1, f"the file is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(source, data[: error.start].count(b"\n") + 1, "not valid UTF-8") from None
    if text.lstrip()[:1] in ("{", "["):
        text = _PAIR.sub(lambda match: match[1] + json.loads(f'"{match[2]}"'), text)
    try:
        return [item for item in _Builder(source, text).documents() if item.value is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _fault(source, mark.line + 1 if mark else 1, f"not valid YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise _fault(source, line, f"not valid YAML: {str(error).splitlines()[0]}") from None


def _fault(source: str, line: int, message: str) -> Invalid:
    text = f"{source}:{line}: {message}"
    return Invalid(text, causes=(Cause("", text),))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Builder:
    """Events to values, with an explicit stack."""

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._text = text
        self._values = 0
        self._sizes: dict[int, int] = {}

    def documents(self) -> Iterator[Document]:
        document: Document | None = None
        for event in yaml.parse(self._text, Loader=_Loader):
            if isinstance(event, yaml.DocumentStartEvent):
                self._start(event)
                document = Document(self._source, None, _line(event), self._lines)
            elif isinstance(event, yaml.DocumentEndEvent):
                assert document is not None
                document.value = self._root
                yield document
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()

    def _start(self, event: yaml.Event) -> None:
        self._root: Any = None
        self._lines: dict[str, int] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        # Each level: [container, path, pending key or None, anchor, values seen when it opened]
        self._stack: list[list[Any]] = []

    def _fail(self, event: yaml.Event, message: str) -> Invalid:
        return _fault(self._source, _line(event), message)

    def _count(self, event: yaml.Event, amount: int) -> None:
        self._values += amount
        if self._values > MAX_VALUES:
            raise self._fail(event, f"more than {MAX_VALUES} values once aliases are expanded")

    def _node(self, event: yaml.NodeEvent) -> None:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._fail(event, f'alias "{event.anchor}" names no finished anchor')
            value, size = self._anchors[event.anchor]
            self._count(event, size)
            self._place(value, event)
            return
        self._count(event, 1)
        tag = getattr(event, "tag", None)
        if tag not in (None, "!") and not tag.startswith("tag:yaml.org,2002:"):
            raise self._fail(event, f"tag {tag} is not supported")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            self._place(value, event)
            if event.anchor:
                self._anchors[event.anchor] = (value, 1)
            return
        if len(self._stack) >= MAX_DEPTH:
            raise self._fail(event, f"nested deeper than {MAX_DEPTH} levels")
        container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._place(container, event)
        self._stack.append([container, path, None, event.anchor, self._values])

    def _place(self, value: Any, event: yaml.Event) -> str:
        if not self._stack:
            self._root = value
            return ""
        top = self._stack[-1]
        container, path, key = top[0], top[1], top[2]
        if isinstance(container, list):
            here = join(path, segment(len(container)))
            container.append(value)
        elif key is None:
            self._open_key(top, value, event)
            return str(path)
        else:
            here = join(path, segment(key[0]))
            container[key[0]] = value
            top[2] = None
        if len(here) <= MAX_PATH:
            self._lines.setdefault(here, _line(event))
        return here

    def _open_key(self, top: list[Any], key: Any, event: yaml.Event) -> None:
        if not isinstance(key, str):
            # Kubernetes turns scalar keys into strings as JSON must; collections cannot be keys.
            if isinstance(key, (dict, list)):
                raise self._fail(event, "a key must be a string")
            key = getattr(event, "value", str(key))
        if key == "<<":
            raise self._fail(event, "merge keys (<<) are not supported")
        here = join(top[1], segment(key))
        if key in top[0]:
            raise self._fail(event, f"{here}: duplicate key (first on line {self._lines.get(here, 0)})")
        if len(here) <= MAX_PATH:
            self._lines[here] = _line(event)
        top[0][key] = None
        top[2] = (key,)

    def _close(self) -> None:
        container, _, _, anchor, before = self._stack.pop()
        if anchor:
            self._anchors[anchor] = (container, self._values - before + 1)

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.style or event.tag in ("!", "tag:yaml.org,2002:str"):
            return event.value
        return resolve(event.value)


def resolve(text: str) -> Any:
    """A plain scalar's value."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 40:
        return text
    if _INT.match(text):
        body = text.lstrip("+-")
        octal = len(body) > 1 and body[0] == "0" and body.isdigit()
        if octal and set(body) - set("01234567"):
            return float(text)
        number = int(body, 8) if octal else int(body, 0)
        return -number if text[0] == "-" else number
    if _FLOAT.match(text):
        number_ = float(text)
        return number_ if math.isfinite(number_) else text
    return text
