"""Quoted texts: Go's escapes, in either kind of quotes.

Source: the Go specification, "Rune literals" and "String literals".
"""

from __future__ import annotations

import re

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ESCAPE = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<simple>.))",
    re.DOTALL,
)


class Unquotable(Exception):
    """The text has an escape that there is not."""


def unquote(text: str) -> str:
    """`text` has its quotes. Raises Unquotable."""
    quote, inside = text[0], text[1:-1]
    out, position = bytearray(), 0
    while (at := inside.find("\\", position)) >= 0:
        out += inside[position:at].encode("utf-8", "surrogateescape")
        match = _ESCAPE.match(inside, at)
        value = _value(match, quote) if match else None
        if match is None or value is None:
            raise Unquotable(f"unquote string {text[:80]} error invalid syntax")
        out += value
        position = match.end()
    out += inside[position:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "replace")


def _value(match: re.Match[str], quote: str) -> bytes | None:
    """The bytes of one escape; None for one that Go does not know, such as the other quote."""
    if match["simple"]:
        char = quote if match["simple"] == quote else _SIMPLE.get(match["simple"])
        return char.encode() if char else None
    if match["x"] or match["octal"]:
        return bytes([int(match["x"], 16) if match["x"] else int(match["octal"], 8)])
    code = int(match["u"] or match["U"], 16)
    return chr(code).encode() if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else None
