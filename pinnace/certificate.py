"""Reading certificates, strictly and without `cryptography`, whose import would cost kctl 30 ms and an agent 13 MB.

A fingerprint authenticates bytes, so the bytes that are hashed are the only ones that may be trusted: a text with a second
certificate, or anything else that a lenient decoder skips, is refused. Trust `to_pem(only(text))`, never `text`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

# RFC 7468, section 5; blank lines may surround the block, nothing else.
_PEM = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*", re.ASCII
)  # fmt: skip
_LABEL = re.compile(rb"-----BEGIN [^-\n]{0,64}-----")
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
MAX_BYTES = 16 << 10
# The part of its validity after which a certificate is renewed.
RENEW_AFTER = 2 / 3
# ASN.1 tags (X.690, section 8).
_INTEGER, _SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x30, 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class Validity:
    """From `start` to `end`, both included, in seconds since the epoch."""

    start: float
    end: float

    @property
    def renewal(self) -> float:
        """Time from which a new certificate should replace this one."""
        return self.start + (self.end - self.start) * RENEW_AFTER


def only(pem: bytes) -> bytes:
    """The DER form of the one certificate in a PEM text. Raises ValueError for any other text."""
    blocks = len(_LABEL.findall(pem[: MAX_BYTES + 1]))
    match = _PEM.fullmatch(pem) if len(pem) <= MAX_BYTES else None
    if match is None:
        raise ValueError(
            f"expected exactly one certificate in PEM and nothing else, found {blocks} PEM blocks in {len(pem)} bytes"
        )
    text = b"".join(match[1].split())
    try:
        der = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the certificate is not valid base64: {error}") from None
    # A decoder that stops at padding or ignores spare bits sees another certificate than one that does not.
    if base64.b64encode(der) != text:
        raise ValueError("the certificate is not canonical base64")
    if _Element.at(der, 0, _SEQUENCE).end != len(der):
        raise ValueError("bytes follow the certificate")
    return der


def to_pem(der: bytes) -> bytes:
    """PEM text with lines of 64 characters, as `cryptography` and OpenSSL write it."""
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def canonical(pem: bytes) -> bytes:
    """The one certificate in `pem`, encoded anew. Raises ValueError."""
    return to_pem(only(pem))


def fingerprint(pem: bytes) -> str:
    """`sha256:` and the hash of the DER form. Raises ValueError unless `pem` is exactly one certificate."""
    return "sha256:" + hashlib.sha256(only(pem)).hexdigest()


def is_fingerprint(text: str) -> bool:
    return _FINGERPRINT.fullmatch(text) is not None


def validity(pem: bytes) -> Validity:
    """Raises ValueError unless `pem` is exactly one certificate."""
    der = only(pem)
    body = _Element.at(der, _Element.at(der, 0, _SEQUENCE).start, _SEQUENCE)
    at = body.start
    if der[at : at + 1] == bytes([_VERSION]):
        at = _Element.at(der, at, _VERSION).end
    # TBSCertificate (RFC 5280, section 4.1): serialNumber, signature, issuer, validity.
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):
        at = _Element.at(der, at, tag).end
    period = _Element.at(der, at, _SEQUENCE)
    first = _Element.at(der, period.start)
    return Validity(_time(der, first), _time(der, _Element.at(der, first.end)))


@dataclass(frozen=True, slots=True)
class _Element:
    """One DER element: its tag, and where its contents start and end."""

    tag: int
    start: int
    end: int

    @classmethod
    def at(cls, data: bytes, at: int, tag: int | None = None) -> _Element:
        """Raises ValueError for another tag, and for a length that is not DER or beyond the data."""
        if at + 2 > len(data) or (tag is not None and data[at] != tag):
            raise ValueError(f"not a certificate: expected ASN.1 tag {tag} at byte {at}")
        size, start = data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            octets = data[start : start + count]
            size, start = int.from_bytes(octets, "big"), start + count
            if count not in (1, 2, 3) or len(octets) != count or size < 0x80 or octets[0] == 0:
                raise ValueError(f"not a certificate: the length at byte {at + 1} is not DER")
        if start + size > len(data):
            raise ValueError(f"not a certificate: the element at byte {at} ends beyond the data")
        return cls(data[at], start, start + size)


def _time(der: bytes, element: _Element) -> float:
    """Source: RFC 5280, section 4.1.2.5: always UTC, with seconds; a year of two digits is of 1950 to 2049."""
    text = der[element.start : element.end].decode("ascii", "replace")
    if element.tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif element.tag != _GENERALIZED_TIME:
        raise ValueError(f"not a certificate: ASN.1 tag {element.tag} is not a time")
    if not re.fullmatch(r"[0-9]{14}Z", text, re.ASCII):
        raise ValueError(f'not a certificate: "{text[:20]}" is not a time')
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}").timestamp()
