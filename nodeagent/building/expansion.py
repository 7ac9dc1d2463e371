"""Quotes, escapes and variables of Dockerfiles: what BuildKit's shell lexer makes of a text. Pure.

`$v`, `${v}`, `${v:-w}`, `${v-w}`, `${v:+w}`, `${v+w}`, `${v:?w}`, `${v?w}`, `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}`,
`${v/p/w}`, `${v//p/w}`. Single quotes keep everything, double quotes all but variables and escapes of `"`, `$` and the
escape character. Source: BuildKit, frontend/dockerfile/shell and its tables envVarTest and wordsTest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nodeagent.building import shellpatterns
from nodeagent.building.shellpatterns import PatternError
from nodeagent.building.whitespace import is_space

MAX_DEPTH = 16
# Characters of a result: a value that is put in often enough would fill the memory.
MAX_WORD = 128 << 10
_SPECIAL = "@*#?-$!0"
_PATTERN_OPERATORS = "#%"
_VALUE_OPERATORS = "+-?"


class ExpansionError(ValueError):
    """A text that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`raw_quotes` and `raw_escapes` keep them in the result; `plain_quotes`: quotes are letters; `keep_unset` leaves
    variables without a value as they are written."""

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    plain_quotes: bool = False
    keep_unset: bool = False


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Without its quotes and escapes, and with the values of variables; an unset one is empty. Raises ExpansionError."""
    return _Lexer(text, variables, Rules(escape)).result()


def expand_content(text: str, variables: Mapping[str, str]) -> str:
    """The content of a here-document: variables and escapes, but no quotes. Raises ExpansionError."""
    return _Lexer(text, variables, Rules(plain_quotes=True)).result()


def split(text: str, variables: Mapping[str, str], rules: Rules = Rules()) -> list[str]:
    """The words after expansion; values of unquoted variables are split too. Raises ExpansionError."""
    lexer = _Lexer(text, variables, rules)
    lexer.result()
    return lexer.words.finished()


@dataclass(slots=True)
class _Words:
    """Words under construction."""

    found: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)

    def split(self, text: str) -> None:
        for char in text:
            if not is_space(char):
                self.current.append(char)
            else:
                self._end()

    def add(self, text: str) -> None:
        self.current.append(text)

    def _end(self) -> None:
        word = "".join(self.current)
        self.found += [word] if word else []
        self.current = []

    def finished(self) -> list[str]:
        self._end()
        return self.found


class _Lexer:
    def __init__(self, text: str, variables: Mapping[str, str], rules: Rules) -> None:
        self._text = text
        self._variables = variables
        self._rules = rules
        self._at = 0
        self._put_in = 0
        self._depth = 0
        self.words = _Words()

    def result(self) -> str:
        return self._until("", self.words)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _until(self, stop: str, words: _Words | None = None) -> str:
        """Up to the character `stop`, which is consumed; empty: all of it."""
        out: list[str] = []
        while char := self._peek():
            if stop and char == stop:
                self._at += 1
                return "".join(out)
            text = self._piece(char)
            out.append(text)
            if words is not None:
                # A plain character separates words when it is white space; what was quoted or escaped does not.
                plain = char == "$" or (text == char and char != self._rules.escape)
                (words.split if plain else words.add)(text)
        if stop:
            raise ExpansionError(f"syntax error: missing '{stop}'")
        return "".join(out)

    def _piece(self, char: str) -> str:
        if char == "$":
            return self._bounded(self._dollar())
        if char == "<":
            return self._heredoc()
        if char in "\"'" and not self._rules.plain_quotes:
            return self._single() if char == "'" else self._double()
        self._at += 1
        if char != self._rules.escape:
            return char
        # At the end it is dropped.
        kept = char if self._rules.raw_escapes else ""
        return kept + self._next()

    def _heredoc(self) -> str:
        """`<<` and the blanks behind it are one with the word that follows."""
        self._at += 1
        if self._peek() != "<":
            return "<"
        start = self._at
        self._at += 1
        while self._peek() and self._peek() in "\t\r ":
            self._at += 1
        return "<" + self._text[start : self._at]

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ExpansionError("a quote (') is not closed")
        found = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{found}'" if self._rules.raw_quotes else found

    def _double(self) -> str:
        quote = '"' if self._rules.raw_quotes else ""
        self._at += 1
        out = [quote]
        while (char := self._peek()) != '"':
            if not char:
                raise ExpansionError('a quote (") is not closed')
            if char == "$":
                out.append(self._bounded(self._dollar()))
                continue
            self._at += 1
            if char == self._rules.escape and self._peek() in ('"', "$", self._rules.escape):
                out.append((char if self._rules.raw_escapes else "") + self._next())
            else:
                out.append(char)
        self._at += 1
        return "".join([*out, quote])

    def _bounded(self, value: str) -> str:
        self._put_in += len(value)
        if self._put_in > MAX_WORD:
            raise ExpansionError(f"longer than {MAX_WORD >> 10} KiB once its variables are replaced")
        return value

    def _dollar(self) -> str:
        start = self._at
        self._at += 1
        if self._peek() == "{":
            return self._braced(start)
        name = self._name()
        if not name:
            return "$"
        if self._rules.keep_unset and name not in self._variables:
            return f"${name}"
        return self._variables.get(name, "")

    def _name(self) -> str:
        """Letters, digits and underscores; digits alone; or one of the shell's special parameters. Maybe none."""
        start, char = self._at, self._peek()
        if char.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif char and char in _SPECIAL:
            self._at += 1
        else:
            while (char := self._peek()) and (char == "_" or char.isalpha() or char.isdecimal()):
                self._at += 1
        return self._text[start : self._at]

    def _braced(self, start: int) -> str:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpansionError("variables are nested too deep")
        self._at += 1
        if not self._peek():
            raise ExpansionError("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise ExpansionError(f"syntax error: bad substitution: {self._text[start : start + 20]!r}")
        name = self._name()
        found = self._substitution(name, self._next())
        self._depth -= 1
        if self._rules.keep_unset and name not in self._variables:
            return self._text[start : self._at]
        return found

    def _substitution(self, name: str, operator: str) -> str:
        value = self._variables.get(name)
        if operator == "}":
            return value or ""
        if operator == "/":
            return self._replacement(value or "")
        empty_is_unset = operator == ":"
        if empty_is_unset:
            operator += self._next()
        sign = operator[-1:]
        if operator in ("", ":"):
            raise ExpansionError("syntax error: missing '}'")
        if sign in _PATTERN_OPERATORS and not empty_is_unset:
            return self._trimmed(value or "", sign)
        if sign not in _VALUE_OPERATORS:
            raise ExpansionError(f"unsupported modifier ({operator}) in substitution of {name!r}")
        word = self._until("}")
        if sign == "?":
            return self._demanded(name, value, word, empty_is_unset)
        given = value is not None and not (empty_is_unset and not value)
        return (value or "" if given else word) if sign == "-" else (word if given else "")

    def _demanded(self, name: str, value: str | None, word: str, empty_is_unset: bool) -> str:
        if value is None or (empty_is_unset and not value):
            state = "unset" if value is None else "empty"
            raise ExpansionError(f"{name}: {word or f'is not allowed to be {state}'}")
        return value

    def _raw_until(self, stop: str) -> str:
        """A pattern, whose escapes are its own."""
        rules, self._rules = self._rules, replace(self._rules, raw_escapes=True)
        try:
            return self._until(stop)
        finally:
            self._rules = rules

    def _trimmed(self, value: str, sign: str) -> str:
        pattern = self._raw_until("}")
        longest = pattern.startswith(sign)
        trim = shellpatterns.without_prefix if sign == "#" else shellpatterns.without_suffix
        try:
            return trim(value, pattern[longest:], longest=longest)
        except PatternError as error:
            raise ExpansionError(str(error)) from None

    def _replacement(self, value: str) -> str:
        everywhere = self._peek() == "/"
        self._at += everywhere
        pattern = self._raw_until("/")
        word = self._bounded(self._raw_until("}"))
        if everywhere and len(word) * (len(value) + 1) > MAX_WORD:
            raise ExpansionError(f"longer than {MAX_WORD >> 10} KiB once its variables are replaced")
        try:
            return shellpatterns.replaced(value, pattern, word, everywhere=everywhere)
        except PatternError as error:
            raise ExpansionError(str(error)) from None
