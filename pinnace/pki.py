"""Certificates: the cluster's own CA, the server's, and those of people and agents. ECDSA P-256 throughout.

`cryptography` is imported where it is used: kctl and a running agent never need it.
Identity follows Kubernetes: CN is the user, O the groups; an agent is CN=system:node:NAME, O=system:nodes.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pinnace.errors import Invalid

# Every client expects this name in the server's certificate, whatever address it dialled: the private CA is the
# anchor, and it gives the name to nobody else.
SERVER_NAME = "pinnace-controlplane"
CA_DAYS = 3650
SERVER_DAYS = 365
CLIENT_DAYS = 365
# Clocks of lab machines differ.
BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


def new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    pem: bytes = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return pem


def new_ca(now: float) -> Pair:
    key = new_key()
    name = _name("pinnace-ca", ())
    return Pair(_sign(key, name, name, key.public_key(), now=now, days=CA_DAYS, ca=True), key_pem(key))


def issue(
    ca: Pair, user: str, groups: tuple[str, ...], *, now: float, days: int = CLIENT_DAYS, hosts: tuple[str, ...] = ()
) -> Pair:
    """A fresh key with a certificate. With `hosts` it is a server's, else a client's."""
    key = new_key()
    certificate = _issue_for(ca, key.public_key(), user, groups, now=now, days=days, hosts=hosts)
    return Pair(certificate, key_pem(key))


def new_csr(user: str, groups: tuple[str, ...]) -> Pair:
    """A key and a signing request (in `certificate`)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = new_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(user, groups)).sign(key, hashes.SHA256())
    return Pair(request.public_bytes(serialization.Encoding.PEM), key_pem(key))


def sign_csr(ca: Pair, csr: bytes, user: str, groups: tuple[str, ...], *, now: float) -> bytes:
    """A client certificate for exactly `user`. Raises Invalid when the request is broken or asks for another name."""
    from cryptography import x509

    try:
        request = x509.load_pem_x509_csr(csr)
        public = request.public_key()
        sound = request.is_signature_valid and request.subject == _name(user, groups)
    except (ValueError, TypeError) as error:
        raise Invalid(f"not a certificate signing request: {str(error)[:100]}") from None
    if not sound:
        raise Invalid(f"the signing request must be signed and name CN={user}, O={','.join(groups)}")
    return _issue_for(ca, public, user, groups, now=now, days=CLIENT_DAYS, hosts=())


def _issue_for(
    ca: Pair, public: Any, user: str, groups: tuple[str, ...], *, now: float, days: int, hosts: tuple[str, ...]
) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    signer = load_pem_private_key(ca.key, None)
    issuer = x509.load_pem_x509_certificate(ca.certificate).subject
    return _sign(signer, issuer, _name(user, groups), public, now=now, days=days, hosts=hosts)


def _name(user: str, groups: tuple[str, ...]) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _sign(
    signer: Any,
    issuer: Any,
    subject: Any,
    public: Any,
    *,
    now: float,
    days: int,
    ca: bool = False,
    hosts: tuple[str, ...] = (),
) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

    start = datetime.fromtimestamp(now, UTC) - BACKDATE
    builder = (
        x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(public)
        .serial_number(x509.random_serial_number()).not_valid_before(start)
        .not_valid_after(start + BACKDATE + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )  # fmt: skip
    signs = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    builder = builder.add_extension(signs, critical=True)
    if not ca:
        usage = Usage.SERVER_AUTH if hosts else Usage.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    pem: bytes = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return pem


def _host(host: str) -> Any:
    import ipaddress

    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def fingerprint(certificate: bytes) -> str:
    """`sha256:` and the hash of the DER form."""
    return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()


def expires(certificate: bytes) -> float:
    """When the certificate ends, in seconds since the epoch."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


def write_private(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file that only its owner reads; all of it or nothing.

    Without `sync` that holds while the machine is up: after a power failure the file may be old, absent or torn."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
