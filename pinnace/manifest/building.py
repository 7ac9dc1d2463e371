"""Values from a stream of scalars and containers: what YAML and JSON text have in common.

Never recursive, and every way to make a small file big is bounded: depth, values after aliases and merges, errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pinnace.codec import MAX_DEPTH, join, segment
from pinnace.errors import Cause
from pinnace.manifest import scalars

MAX_VALUES = 1_000_000
# Characters that count as one more value, so that aliases cannot multiply a long text without end.
WEIGHT = 64
# Longer paths have no line of their own: a million of them would be gigabytes.
MAX_PATH = 1_000
# Errors of one document that are listed; further ones are counted.
MAX_ERRORS = 100


class Unreadable(Exception):
    """The rest of a document cannot be read."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class Merge:
    """The key `<<`: the members of its value become the mapping's own."""


class Misplaced:
    """A key that cannot be one: its value is read and dropped."""


@dataclass(slots=True)
class Budget:
    """What the documents of one file may still add up to."""

    values: int = MAX_VALUES
    most: int = field(init=False)

    def __post_init__(self) -> None:
        self.most = self.values

    def spend(self, amount: int, line: int) -> None:
        """Raises Unreadable."""
        self.values -= amount
        if self.values < 0:
            raise Unreadable(f"more than {self.most} values once aliases are expanded", line)


@dataclass(slots=True)
class _Level:
    """One open container. `key` is the mapping's pending key: None before a key."""

    container: Any
    path: str
    line: int
    anchor: str | None
    # Values left in the budget when it opened.
    budget: int
    # A mapping's own keys, without merged ones, and their lines.
    own: dict[str, int] = field(default_factory=dict)
    key: str | type[Merge] | type[Misplaced] | None = None


@dataclass(slots=True)
class Builder:
    """One document. `lines` maps a path such as `spec.containers[0].image` to its line, counted from 1."""

    budget: Budget
    value: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    letters: dict[tuple[int, Any], str] = field(default_factory=dict)
    errors: list[tuple[int, Cause]] = field(default_factory=list)
    _omitted: int = 0
    _at_first: int = 0
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    _stack: list[_Level] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._at_first = self.budget.values

    def restart(self) -> None:
        """As if nothing had been read."""
        self.budget.values = self._at_first
        self.value, self._omitted = None, 0
        for part in (self.lines, self.letters, self.errors, self._anchors, self._stack):
            part.clear()

    def fail(self, cause: Cause, line: int) -> None:
        """Record an error after which the document can still be read."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append((line, cause))
        else:
            self._omitted += 1

    def give_up(self, message: str, line: int) -> None:
        """Record the error that ends the document; what was read so far is no value."""
        self.fail(Cause("", message), line)
        self.value = None

    def listed_errors(self) -> list[tuple[int, Cause]]:
        """(line, error) of each, and how many more there are."""
        more = [(self.errors[-1][0], Cause("", f"{self._omitted} more errors"))] if self._omitted else []
        return self.errors + more

    def at_key(self) -> bool:
        """Whether the next value is a mapping's key."""
        return bool(self._stack) and isinstance(self._stack[-1].container, dict) and self._stack[-1].key is None

    def scalar(self, value: Any, line: int, *, anchor: str | None = None) -> None:
        """A resolved scalar (scalars.resolve). Raises Unreadable."""
        size = 1 + len(value) // WEIGHT if isinstance(value, str) else 1
        self.budget.spend(size, line)
        if anchor:
            self._anchors[anchor] = (value, size)
        self._scalar(value, line)

    def _scalar(self, value: Any, line: int) -> None:
        try:
            if self.at_key():
                self._open_key(scalars.key(value), line)
            else:
                self._place(scalars.in_json(value), line)
        except scalars.ScalarError as error:
            self.fail(Cause(self._here(), str(error)), line)
            if self.at_key():
                self._stack[-1].key = Misplaced
            else:
                self._place(None, line)

    def letter(self, text: str) -> None:
        """Remember the text of the value that comes next (letters.py)."""
        if self._stack and not self.at_key():
            top = self._stack[-1]
            at = len(top.container) if isinstance(top.container, list) else top.key
            self.letters[(id(top.container), at)] = text

    def merge_key(self, line: int) -> None:
        """The key `<<`, plain or tagged `!!merge`. Raises Unreadable."""
        self.budget.spend(1, line)
        self._stack[-1].key = Merge

    def open(self, container: dict[str, Any] | list[Any], line: int, *, anchor: str | None = None) -> None:
        """Begin a mapping or a sequence. Raises Unreadable."""
        if len(self._stack) >= MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH} levels", line)
        if self.at_key():
            raise Unreadable("a key must be a string (a template such as {{ .Values.x }} must be rendered first)", line)
        before = self.budget.values
        self.budget.spend(1, line)
        merged = bool(self._stack) and self._stack[-1].key is Merge
        path = self._stack[-1].path if merged else self._place(container, line)
        self._stack.append(_Level(container, path, line, anchor, before))

    def close(self) -> None:
        """End the innermost container. Raises Unreadable."""
        level = self._stack.pop()
        if level.anchor:
            self._anchors[level.anchor] = (level.container, level.budget - self.budget.values)
        if self._stack and self._stack[-1].key is Merge:
            self._merge(level.container, level.line)

    def alias(self, name: str, line: int) -> None:
        """Raises Unreadable."""
        if name not in self._anchors:
            raise Unreadable(f'alias "{name}" names no finished anchor', line)
        value, size = self._anchors[name]
        self.budget.spend(size, line)
        if isinstance(value, (dict, list)):
            if self.at_key():
                raise Unreadable("a key must be a string", line)
            self._place(value, line)
        else:
            self._scalar(value, line)

    def _here(self) -> str:
        """The path of the value that comes next, or of the mapping whose key comes next."""
        if not self._stack:
            return ""
        top = self._stack[-1]
        if isinstance(top.container, list):
            return join(top.path, segment(len(top.container)))
        return join(top.path, segment(top.key)) if isinstance(top.key, str) else top.path

    def _place(self, value: Any, line: int) -> str:
        """Put a value where it belongs; returns its path."""
        if not self._stack:
            self.value = value
            return ""
        top, here = self._stack[-1], self._here()
        if isinstance(top.container, list):
            top.container.append(value)
        elif top.key is Merge:
            self._merge(value, line)
            return here
        else:
            if isinstance(top.key, str):
                top.container[top.key] = value
            top.key = None
        self._remember(here, line)
        return here

    def _open_key(self, key: str, line: int) -> None:
        top = self._stack[-1]
        here = join(top.path, segment(key))
        if key in top.own:
            self.fail(Cause(here, f"duplicate key (first on line {top.own[key]})"), line)
        top.own.setdefault(key, line)
        top.container[key] = None
        top.key = key
        self._remember(here, line)

    def _remember(self, path: str, line: int) -> None:
        if len(path) <= MAX_PATH:
            self.lines.setdefault(path, line)

    def _merge(self, value: Any, line: int) -> None:
        """Members of a mapping, or of several of which earlier ones win; like kubectl, in place of what is there already."""
        top = self._stack[-1]
        top.key = None
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self.fail(Cause(top.path, "map merge requires map or sequence of maps as the value"), line)
            return
        for source in reversed(sources):
            self.budget.spend(len(source), line)
            top.container.update(source)
            for key in source:
                self.letters.pop((id(top.container), key), None)
                if (id(source), key) in self.letters:
                    self.letters[(id(top.container), key)] = self.letters[(id(source), key)]
                self._remember(join(top.path, segment(key)), line)
