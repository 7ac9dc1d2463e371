"""Certificates as text: only one of them, only canonical, and what is hashed is what is trusted."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime

import pytest

from pinnace import certificate, pki

NOW = 1_700_000_000.0
CA = pki.new_ca(NOW).certificate
OTHER = pki.new_ca(NOW).certificate


def body(pem: bytes) -> bytes:
    return b"".join(pem.splitlines()[1:-1])


def block(text: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"\n-----END CERTIFICATE-----\n"


def test_a_certificate_survives_decoding_and_encoding() -> None:
    """Byte for byte, as OpenSSL decodes and `cryptography` encodes it; line endings and blank lines around it may differ."""
    der = certificate.only(CA)
    assert der == ssl.PEM_cert_to_DER_cert(CA.decode())
    assert certificate.to_pem(der) == CA
    for text in (CA.replace(b"\n", b"\r\n"), b"\n\n" + CA + b"\n", CA.rstrip(b"\n")):
        assert certificate.canonical(text) == CA


@pytest.mark.parametrize("number", range(60))
def test_a_second_certificate_never_hides_behind_the_first(number: int) -> None:
    """For any length of the base64: where it ends in padding, a lenient decoder stops and hashes the first one alone."""
    ca = pki.new_ca(NOW).certificate
    for text in (ca + OTHER, OTHER + ca, ca + ca, block(body(ca) + b"\n" + body(OTHER)), ca + b"\n" + OTHER):
        with pytest.raises(ValueError, match=r"exactly one|base64|follow"):
            certificate.fingerprint(text)


@pytest.mark.parametrize("text", [
    b"", b"\n", b"not PEM", CA[:-30], CA + b"x", b"x" + CA, CA.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
    block(body(CA)[:-1]), block(body(CA) + b"===="), block(body(CA) + b"AAAA"), block(b" " + body(CA)), block(b"MAA=" + body(CA)),
    block(body(CA)[:40] + b"!" + body(CA)[40:]), block(base64.b64encode(b"\x30\x80" + certificate.only(CA))),
    block(base64.b64encode(b"\x04" + certificate.only(CA)[1:])), block(base64.b64encode(certificate.only(CA) + b"\0")),
    CA + b" " * certificate.MAX_BYTES, CA.replace(b"\n", b"\x0b"), b"\xef\xbb\xbf" + CA, CA + b"-----BEGIN CERTIFICATE-----\n",
    b"subject=CN = pinnace-ca\n" + CA, CA + b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
])  # fmt: skip
def test_anything_else_is_refused(text: bytes) -> None:
    """Text around it, other blocks, bad base64, bytes after the DER, lengths that are not DER."""
    with pytest.raises(ValueError):
        certificate.only(text)


def test_spare_bits_in_the_base64_are_refused() -> None:
    """Two texts never decode to one certificate."""
    der = b"\x30\x02\x05\x00"
    text = base64.b64encode(der)
    assert text.endswith(b"A==")
    assert certificate.only(block(text)) == der
    with pytest.raises(ValueError, match="canonical"):
        certificate.only(block(text[:-3] + b"B=="))


@pytest.mark.parametrize(
    "now", [NOW, 946_684_800.0, datetime(2049, 12, 31, tzinfo=UTC).timestamp(), datetime(2060, 1, 1, tzinfo=UTC).timestamp()]
)
def test_the_validity_is_read_without_cryptography(now: float) -> None:
    """Both forms of time, before and after 2050; renewal is due after two thirds of it."""
    ca = pki.new_ca(now)
    pem = pki.issue(ca, "someone", (), now=now, lifetime=3000.0).certificate
    found = certificate.validity(pem)
    assert (found.start, found.end) == (now - 300, now + 3000)
    assert found.renewal == now - 300 + 2200


def test_short_lifetimes_are_backdated_less() -> None:
    """Else a certificate of ten seconds would be due for renewal from the start."""
    found = certificate.validity(pki.issue(pki.new_ca(NOW), "someone", (), now=NOW, lifetime=10.0).certificate)
    assert (found.start, found.end) == (NOW - 1, NOW + 10)


def test_no_certificate_outlives_the_ca() -> None:
    """It would be refused from then on anyway, and its renewal would come too late."""
    ca = pki.new_ca(NOW)
    found = certificate.validity(pki.issue(ca, "late", (), now=NOW + pki.CA_LIFETIME - 60).certificate)
    assert found.end == NOW + pki.CA_LIFETIME


@pytest.mark.parametrize(
    "text", ["sha256:" + "0" * 63, "0" * 64, "sha256:" + "G" * 64, "sha256:" + "é" * 64, "sha512:" + "0" * 64]
)
def test_a_fingerprint_has_one_form(text: str) -> None:
    """sha256: and 64 hexadecimal digits."""
    assert not certificate.is_fingerprint(text)
    assert certificate.is_fingerprint(certificate.fingerprint(CA))
