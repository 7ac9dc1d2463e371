"""Words of a Dockerfile: quotes, the escape character, and variables.

Docker's rules (Dockerfile reference, "Environment replacement"): `$v`, `${v}`, `${v:-word}`, `${v-word}`, `${v:+word}`,
`${v+word}`, `${v:?word}`, `${v?word}`; no variable in single quotes; the escape character before `$` keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

MAX_DEPTH = 16
# Characters of a word: a value that is put in often enough would fill the memory.
MAX_WORD = 128 << 10


class WordError(ValueError):
    """A word that cannot be read; the text says why."""


def split(text: str, escape: str = "\\") -> list[str]:
    """At blanks outside of quotes; quotes and escapes stay in the words."""
    words: list[str] = []
    current, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            current += text[at : at + 2]
            at += 2
            continue
        if not quote and char.isspace():
            words += [current] if current else []
            current = ""
        else:
            if char == quote:
                quote = ""
            elif not quote and char in "\"'":
                quote = char
            current += char
        at += 1
    if quote:
        raise WordError(f"a quote ({quote}) is not closed")
    return words + ([current] if current else [])


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Without its quotes and escapes, and with the values of variables; an unset one is empty. Raises WordError."""
    return _Reader(text, variables, escape).word("", 0)


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._variables = variables
        self._escape = escape
        self._at = 0
        self._put_in = 0

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def word(self, end: str, depth: int) -> str:
        """Up to the character `end`, which is not consumed; empty: all of it."""
        out: list[str] = []
        while (char := self._peek()) and char != end:
            self._at += 1
            if char == "'":
                out.append(self._single())
            elif char == '"':
                out.append(self._double(depth))
            elif char == "$":
                out.append(self._bounded(self._dollar(depth)))
            elif char == self._escape:
                # Alone at the end it stands for itself.
                out.append(self._next() or char)
            else:
                out.append(char)
        if end and not self._peek():
            raise WordError(f"a variable's {end} is missing")
        return "".join(out)

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise WordError("a quote (') is not closed")
        found = self._text[self._at : end]
        self._at = end + 1
        return found

    def _double(self, depth: int) -> str:
        out = []
        while (char := self._next()) != '"':
            if not char:
                raise WordError('a quote (") is not closed')
            if char == "$":
                out.append(self._bounded(self._dollar(depth)))
            elif char == self._escape and self._peek() in ('"', "$", self._escape):
                out.append(self._next())
            else:
                out.append(char)
        return "".join(out)

    def _bounded(self, value: str) -> str:
        self._put_in += len(value)
        if self._put_in > MAX_WORD:
            raise WordError(f"longer than {MAX_WORD >> 10} KiB once its variables are replaced")
        return value

    def _dollar(self, depth: int) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._at += 1
        name = self._name()
        if not name:
            raise WordError("${ is not followed by a name")
        found = self._braced(name, depth + 1)
        self._at += 1
        return found

    def _name(self) -> str:
        start = self._at
        while (char := self._peek()) and (char == "_" or (char.isascii() and char.isalnum())):
            self._at += 1
        name = self._text[start : self._at]
        if name[:1].isdigit():
            # As in a shell, $12 is $1 and a 2.
            self._at = start + 1
            name = name[:1]
        return name

    def _braced(self, name: str, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise WordError("variables are nested too deep")
        value = self._variables.get(name)
        operator = self._next()
        if operator == "}":
            self._at -= 1
            return value or ""
        if operator == ":":
            operator = self._next()
            # With a colon an empty value counts as none.
            value = value or None
        if not operator:
            raise WordError("a variable's } is missing")
        if operator not in _OPERATORS:
            raise WordError(f"${{{name}...}}: the modifier {operator!r} is not supported (:-, :+ and :? are)")
        return _OPERATORS[operator](name, value, self.word("}", depth))


def _demand(name: str, value: str | None, text: str) -> str:
    if value is None:
        raise WordError(f"{name}: {text or 'not set'}")
    return value


_OPERATORS: dict[str, Callable[[str, str | None, str], str]] = {
    "-": lambda _, value, word: word if value is None else value,
    "+": lambda _, value, word: "" if value is None else word,
    "?": _demand,
}
