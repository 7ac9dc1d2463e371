"""The name by which pods reach this machine: `host.pinnace.internal`, for webhooks and databases of a developer.

Its address is the machine's side of the lab's link. Answered by hand, since one record needs no library in this process.
"""

from __future__ import annotations

import socket
import struct

from pinnace.dns import messages
from pinnace.dns.serving import Answer, Resolve

NAME = "host.pinnace.internal"
# Seconds: the link may have another address after `lab start`.
TTL = 5
_A, _ANY, _IN = 1, 255, 1
# A name that is the question's (RFC 1035, 4.1.4).
_SAME_NAME = 0xC000 | messages.HEADER
_QUESTION = b"".join(bytes((len(label),)) + label.encode() for label in NAME.split(".")) + b"\0"


def named(address: str, others: Resolve) -> Resolve:
    """Answers for the machine's name with its IPv4 address, and leaves all else to `others`."""

    def answer(query: bytes, tcp: bool) -> Answer:
        if messages.refusal(query) is None and (asked := messages.question(query)).startswith(_QUESTION):
            return _response(query, asked, address)
        return others(query, tcp)

    return answer


def _response(query: bytes, asked: bytes, address: str) -> bytes:
    """Of another type than A: no error and no record."""
    found = messages.failure(query, messages.NOERROR)
    if struct.unpack("!HH", asked[-4:]) not in ((_A, _IN), (_ANY, _IN)):
        return found
    record = struct.pack("!3HIH", _SAME_NAME, _A, _IN, TTL, 4) + socket.inet_aton(address)
    # The number of answers follows that of questions.
    return found[:6] + struct.pack("!H", 1) + found[8:] + record
