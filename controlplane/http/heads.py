"""Heads of requests that two readers may understand in two ways: they are refused, not read.

A proxy in front of the port that ends a request elsewhere than this server does would pass on one client's bytes as another
client's request (request smuggling). h11 reads some forms leniently that RFC 9112 allows a server to refuse.

Source: RFC 9112, sections 2.2 (bare LF), 5.2 (obsolete line folding) and 6.1 (Transfer-Encoding with Content-Length).
"""

from __future__ import annotations

import h11

from pinnace.errors import ApiError, BadRequest, TooLarge

# Bytes of a request's head: long label selectors and tokens stand there.
MAX_HEAD = 64 << 10
# Header lines; each costs as much as many bytes, and clients send some twenty.
MAX_LINES = 2000


class HeadTooLarge(TooLarge):
    """Kubernetes has no reason of its own for it. Source: RFC 6585, section 5."""

    http = 431


class TargetTooLong(TooLarge):
    """Source: RFC 9110, section 15.5.15."""

    http = 414


def check(raw: bytes, head: h11.Request) -> None:
    """`raw` is the head as it came, `head` as h11 has read it. Raises BadRequest, HeadTooLarge."""
    if raw.count(b"\n") != raw.count(b"\r\n"):
        raise BadRequest("the request is not HTTP/1.1: a line of the head does not end with CR LF")
    if b"\n " in raw or b"\n\t" in raw:
        raise BadRequest("the request is not HTTP/1.1: a header is folded over lines")
    if len(head.headers) > MAX_LINES:
        raise HeadTooLarge(f"there are more than {MAX_LINES} headers")
    names = {name for name, _ in head.headers}
    if b"transfer-encoding" in names and b"content-length" in names:
        raise BadRequest("the request is not HTTP/1.1: there are both Transfer-Encoding and Content-Length")


def explain(error: Exception, unread: bytes = b"") -> ApiError:
    """What a client is told of a request that could not be read, given its bytes so far."""
    if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
        if b"\n" not in unread[:MAX_HEAD]:
            return TargetTooLong(f"the request line is larger than {MAX_HEAD} bytes")
        return HeadTooLarge(f"the request line and headers are larger than {MAX_HEAD} bytes")
    return BadRequest("the request is not HTTP/1.1")
