"""The few fields of a DNS message that a server needs of each (RFC 1035, 4.1). Pure; no length is trusted."""

from __future__ import annotations

import struct

HEADER = 12
MAX_SIZE = 65535
# Flags and response codes.
QR, OPCODE, AA, TC, RD, RA, AD, CD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
_MAX_NAME, _MAX_LABEL = 255, 63


def identity(message: bytes) -> int:
    return int.from_bytes(message[:2], "big")


def with_identity(message: bytes, number: int) -> bytes:
    return number.to_bytes(2, "big") + message[2:]


def rcode(message: bytes) -> int:
    return message[3] & 0x0F


def truncated(message: bytes) -> bool:
    return bool(_flags(message) & TC)


def answer_count(message: bytes) -> int:
    """Number of records in the answer section, from the header."""
    return int.from_bytes(message[6:8], "big")


def refusal(message: bytes) -> int | None:
    """The response code for what is not forwarded; None for an ordinary query, -1 for what deserves no answer."""
    if len(message) < HEADER or _flags(message) & QR:
        return -1
    if _flags(message) & OPCODE:
        return NOTIMP
    return None if question(message) else FORMERR


def question(message: bytes) -> bytes:
    """Name, type and class of the only question, the name in lower case; empty when it is malformed."""
    if len(message) < HEADER or int.from_bytes(message[4:6], "big") != 1:
        return b""
    at = HEADER
    while at < len(message) and 0 < message[at] <= _MAX_LABEL and at - HEADER < _MAX_NAME:
        at += 1 + message[at]
    if at + 5 > len(message) or message[at] != 0 or at + 1 - HEADER > _MAX_NAME:
        return b""
    return message[HEADER:at].lower() + message[at : at + 5]


def answers(query: bytes, response: bytes) -> bool:
    """Whether the response is one to this query: identity, and the question where it is repeated."""
    if len(response) < HEADER or not _flags(response) & QR or identity(response) != identity(query):
        return False
    if int.from_bytes(response[4:6], "big") == 0:
        # Servers that cannot read a question do not repeat it.
        return rcode(response) in (FORMERR, SERVFAIL, NOTIMP, REFUSED)
    return question(response) == question(query)


def failure(query: bytes, code: int) -> bytes:
    """A response without records."""
    flags = QR | (_flags(query) & (OPCODE | RD)) | RA | code
    asked = question(query)
    repeated = query[HEADER : HEADER + len(asked)]
    return query[:2] + struct.pack("!5H", flags, 1 if asked else 0, 0, 0, 0) + repeated


def _flags(message: bytes) -> int:
    return int.from_bytes(message[2:4], "big")
