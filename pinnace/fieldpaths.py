"""Paths of fields, such as `spec.containers[0].image`, and errors that name them."""

from __future__ import annotations

from typing import Any

from pinnace.errors import Cause, Invalid

# Longest key that a path shows.
MAX_SEGMENT = 80
# Errors of one object that are listed. Decoding ends there, so that an object of nothing else costs no more.
MAX_FAULTS = 200


class FieldError(Exception):
    """Values that do not fit, as (path, message); the paths grow towards the root as the error rises.

    `partial` is what could be decoded of the value, in the form that a message is made from; None: nothing of it.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.found = [(path, message)]
        self.partial: Any = None

    @property
    def path(self) -> str:
        """Of the first error."""
        return self.found[0][0]

    @property
    def message(self) -> str:
        """Of the first error."""
        return self.found[0][1]

    @property
    def full(self) -> bool:
        """Whether no more errors are listed, and decoding is to end."""
        return len(self.found) >= MAX_FAULTS

    def under(self, key: str | int) -> FieldError:
        here = segment(key)
        self.found = [(join(here, path), message) for path, message in self.found]
        return self

    def add(self, others: FieldError) -> None:
        self.found = (self.found + others.found)[:MAX_FAULTS]

    def causes(self) -> tuple[Cause, ...]:
        """Every error; when there may be more, the last one says so."""
        more = (Cause("", f"at most {MAX_FAULTS} errors are listed"),) if self.full else ()
        return (*(Cause(path, message) for path, message in self.found), *more)

    def invalid(self, kind: str = "", name: str = "") -> Invalid:
        """`kind` with its group, as `Kind.group_kind`; without one, the errors alone are the message."""
        causes = self.causes()
        return Invalid.of(kind, name, causes) if kind else Invalid("; ".join(map(str, causes)), name=name, causes=causes)


def segment(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    if len(key) <= MAX_SEGMENT and key.replace("-", "").replace("_", "").isalnum():
        return key
    return f"[{printable(key[:MAX_SEGMENT])}]"


def printable(text: str) -> str:
    """Text of a manifest for a message: without control sequences for the terminal, and without lone surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def join(parent: str, child: str) -> str:
    """`a` and `b` make `a.b`; `a` and `[0]` make `a[0]`."""
    return parent + child if not parent or not child or child[0] == "[" else f"{parent}.{child}"


def overlap(one: str, other: str) -> bool:
    """Whether one path is the other or leads to it."""
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and (not short or long[len(short) :][:1] in ("", ".", "["))
