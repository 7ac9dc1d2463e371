"""Macros and names of CEL that the library does not have, written in those that it has. Pure; works on the text of a rule.

- Comprehensions with two variables become one over the keys of a list or map: `x.all(i, v, p)` is
  `cel.bind(c, x, c._keys().all(i, cel.bind(v, c[i], p)))`.
- `indexOf` and `lastIndexOf` are also of lists: under another name, as the library's takes no overload of ours, and with the
  item in a list, so that it may have any type.
- Functions that give an optional value give a list of at most one, followed by `[?0]`.

Source: cel-go's ext/comprehensions.go, apiserver's pkg/cel/library/lists.go and format.go.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Levels of parentheses in a rule; the library refuses deeper ones by itself.
MAX_DEPTH = 100
_TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<text>(?:[rR][bB]?|[bB][rR])(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
      |[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|`[^`\n]*`)
    |(?P<number>(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[uU]?)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>.)""",
    re.S | re.X | re.ASCII,
)
_OPEN, _CLOSED = "([{", ")]}"
_RENAMED = {"indexOf": "_indexOf", "lastIndexOf": "_lastIndexOf"}
_OPTIONAL = {"validate": "_validate", "named": "_named"}
# Macros by the number of expressions after the variables.
_MACROS = {"all": (1,), "exists": (1,), "existsOne": (1,), "exists_one": (1,), "transformList": (1, 2), "transformMap": (1, 2),
           "transformMapEntry": (1, 2)}  # fmt: skip


def rewritten(source: str) -> str:
    """The same rule for the library; what is no expression stays as it is, so that the library says what is wrong."""
    names = {found["name"] for found in _TOKEN.finditer(source) if found["name"]}
    if not names & {*_RENAMED, *_OPTIONAL, *_MACROS}:
        return source
    tokens = [found.group() if not found["space"] else " " for found in _TOKEN.finditer(source)]
    pairs = _pairs(tokens)
    return source if pairs is None else _Writer(tokens, pairs).text(0, len(tokens))


def _pairs(tokens: list[str]) -> dict[int, int] | None:
    """The place of each opening bracket to that of its closing one; None: they are not balanced."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for at, token in enumerate(tokens):
        if len(token) != 1:
            continue
        if token in _OPEN:
            opened.append(at)
            if len(opened) > MAX_DEPTH:
                return None
        elif token in _CLOSED:
            if not opened or _OPEN.index(tokens[opened[-1]]) != _CLOSED.index(token):
                return None
            pairs[opened.pop()] = at
    return None if opened else pairs


@dataclass
class _Writer:
    tokens: list[str]
    pairs: dict[int, int]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def text(self, start: int, end: int) -> str:
        """The tokens from `start` to `end`, rewritten."""
        # Operands and signs of this level; a bracket is one with what is in it.
        out: list[str] = []
        at = start
        while at < end:
            at = self._next(at, end, out)
        return "".join(out)

    def _next(self, at: int, end: int, out: list[str]) -> int:
        token = self.tokens[at]
        call = self._call_at(at, end)
        if call is not None:
            name, opening = call
            closing = self.pairs[opening]
            self._write_call(name, self._arguments(opening), out)
            return closing + 1
        if at in self.pairs:
            closing = self.pairs[at]
            out.append(token + self.text(at + 1, closing) + self.tokens[closing])
            return closing + 1
        out.append(token)
        return at + 1

    def _call_at(self, at: int, end: int) -> tuple[str, int] | None:
        """The name and the bracket of a member call that begins with the dot at `at`, spaces left out."""
        if self.tokens[at] != ".":
            return None
        rest = [place for place in range(at + 1, min(at + 5, end)) if self.tokens[place] != " "][:2]
        if len(rest) < 2 or self.tokens[rest[1]] != "(":
            return None
        return self.tokens[rest[0]], rest[1]

    def _arguments(self, opening: int) -> list[tuple[int, int]]:
        """Where each argument begins and ends."""
        parts, start, at, end = [], opening + 1, opening + 1, self.pairs[opening]
        while at < end:
            if at in self.pairs:
                at = self.pairs[at]
            elif self.tokens[at] == ",":
                parts.append((start, at))
                start = at + 1
            at += 1
        return [*parts, (start, end)]

    def _write_call(self, name: str, parts: list[tuple[int, int]], out: list[str]) -> None:
        given = [self.text(*part) for part in parts]
        variables = [text.strip() for text in given[:2]]
        if len(given) - 2 in _MACROS.get(name, ()) and all(re.fullmatch(r"[A-Za-z_]\w*", one) for one in variables):
            start = _operand_start(out)
            receiver = "".join(out[start:])
            del out[start:]
            out.append(self._comprehension(name, receiver, variables, given[2:]))
            return
        if name in _RENAMED and given[0].strip():
            given[0] = f"[{given[0]}]"
        arguments = ",".join(given)
        if name in _OPTIONAL and len(given) == 1:
            out.append(f".{_OPTIONAL[name]}({arguments})[?0]")
        else:
            out.append(f".{_RENAMED.get(name, name) if arguments else name}({arguments})")

    def _comprehension(self, name: str, receiver: str, variables: list[str], bodies: list[str]) -> str:
        key, value = variables
        whole, keys = (f"_{letter}{next(self._numbers)}" for letter in "ck")
        *conditions, last = [f"cel.bind({value}, {whole}[{key}], {body})" for body in bodies]
        over = f"{whole}._keys()" + "".join(f".filter({key}, {condition})" for condition in conditions)
        if name == "transformMap":
            made = f"cel.bind({keys}, {over}, {keys}._zip({keys}.map({key}, {last})))"
        elif name == "transformMapEntry":
            made = f"{over}.map({key}, {last})._merge()"
        else:
            macro = {"existsOne": "exists_one", "transformList": "map"}.get(name, name)
            made = f"{over}.{macro}({key}, {last})"
        return f"cel.bind({whole}, {receiver}, {made})"


def _operand_start(out: list[str]) -> int:
    """Where the expression begins whose member is called after `out`."""
    at = _back(out, len(out))
    while at >= 0:
        before = _back(out, at)
        if out[at][0] in _OPEN and before >= 0 and _is_operand(out[before]):
            # A call, an index, or the fields of a message.
            at = before
        elif out[at][0] == "." and len(out[at]) > 1:
            # A call that was written already.
            at = before
        elif before >= 1 and out[before] == "?" and out[_back(out, before)] == ".":
            at = _back(out, _back(out, before))
        elif before >= 0 and out[before] == ".":
            at = _back(out, before)
        else:
            return at
    return 0


def _is_operand(text: str) -> bool:
    return text != "in" and (text[0] in _OPEN or len(text) > 1 or text.isalnum() or text in ("_",))


def _back(out: list[str], at: int) -> int:
    """The place of the token before `at` that is no space; -1 without one."""
    at -= 1
    while at >= 0 and out[at] == " ":
        at -= 1
    return at
