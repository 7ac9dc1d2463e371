"""Making certificates: the cluster's own CA, the server's, and those of users and agents. ECDSA P-256 throughout.

`cryptography` is imported where it is used: only processes that sign or make keys need it (`certificate` reads without).
Identity follows Kubernetes: CN is the user, O the groups, and the user's UID, which tells apart two users of one name at
different times, has the object identifier of k8s.io/apimachinery/pkg/apis/asn1. An agent is CN=system:node:NAME,
O=system:nodes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pinnace.errors import Internal

# Every client expects this name in the server's certificate, whatever address it dialled: the private CA is the
# anchor, and it gives the name to no other certificate.
SERVER_NAME = "pinnace-controlplane"
DAY = 86_400.0
# Seconds. Everything but the CA is renewed after two thirds of its lifetime (`certificate.RENEW_AFTER`).
CA_LIFETIME = 3650 * DAY
SERVER_LIFETIME = 90 * DAY
ADMIN_LIFETIME = 365 * DAY
NODE_LIFETIME = DAY
# A certificate is valid from up to this many seconds before it is issued, because the clocks of machines differ.
BACKDATE = 300.0
NODE_PREFIX, NODES = "system:node:", "system:nodes"
# X.520 gives a common name 64 characters.
MAX_NODE_NAME = 64 - len(NODE_PREFIX)
UID_OID = "1.3.6.1.4.1.57683.2"


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
    name = subject_of("pinnace-ca", ())
    start, end = _period(now, CA_LIFETIME)
    certificate = _Template(name, key.public_key(), start, end, ca=True).sign(key, name)
    return Pair(certificate, key_pem(key))


def issue(
    ca: Pair, user: str, groups: tuple[str, ...], *, now: float, lifetime: float = ADMIN_LIFETIME, hosts: tuple[str, ...] = ()
) -> Pair:
    """A fresh key with a certificate for `lifetime` seconds. With `hosts` it is a server's, else a client's."""
    key = new_key()
    certificate = issue_for(ca, key.public_key(), subject_of(user, groups), now=now, lifetime=lifetime, hosts=hosts)
    return Pair(certificate, key_pem(key))


def key_hash(certificate: bytes) -> str:
    """SHA-256 of a certificate's public key, in hex."""
    from cryptography import x509

    return hash_of(x509.load_pem_x509_certificate(certificate).public_key())


def hash_of(public: Any) -> str:
    from cryptography.hazmat.primitives import serialization as s

    return hashlib.sha256(public.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def subject(certificate: bytes) -> tuple[str, tuple[str, ...]]:
    """The user and groups that a certificate is of."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    found = x509.load_pem_x509_certificate(certificate).subject
    names = [str(item.value) for item in found.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(item.value) for item in found.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return "".join(names), groups


def hosts_of(certificate: bytes) -> frozenset[str]:
    """The names and addresses that a server's certificate is for."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(str(name.value) for name in found.value)


def signed_by(certificate: bytes, ca: bytes) -> bool:
    """Whether the CA's key has signed the certificate. Says nothing about its validity period."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def matches(pair: Pair) -> bool:
    """Whether the certificate is of the key."""
    from cryptography.hazmat.primitives import serialization

    signer: Any = serialization.load_pem_private_key(pair.key, None)
    return hash_of(signer.public_key()) == key_hash(pair.certificate)


def issue_for(ca: Pair, public: Any, subject: Any, *, now: float, lifetime: float, hosts: tuple[str, ...] = ()) -> bytes:
    issuer, signer = _loaded(ca)
    start, end = _period(now, lifetime)
    # No certificate outlives its CA.
    end = min(end, issuer.not_valid_after_utc)
    if end <= start:
        raise Internal(f"the cluster's CA expired on {issuer.not_valid_after_utc:%Y-%m-%d}: see deploy/README.md, The CA")
    template = _Template(subject, public, start, end, hosts=hosts)
    return template.sign(signer, issuer.subject)


@lru_cache(maxsize=4)
def _loaded(pair: Pair) -> tuple[Any, Any]:
    """Certificate and key. Loading a key checks it, which takes longer than to sign with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return x509.load_pem_x509_certificate(pair.certificate), load_pem_private_key(pair.key, None)


def _period(now: float, lifetime: float) -> tuple[datetime, datetime]:
    start = now - min(BACKDATE, lifetime / 10)
    return datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(now + lifetime, UTC)


def subject_of(user: str, groups: tuple[str, ...], uid: str = "") -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    if uid:
        attributes.append(x509.NameAttribute(x509.ObjectIdentifier(UID_OID), uid))
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])


@dataclass(frozen=True, slots=True)
class _Template:
    """A certificate that is not signed yet."""

    subject: Any
    public: Any
    start: datetime
    end: datetime
    ca: bool = False
    hosts: tuple[str, ...] = ()

    def sign(self, signer: Any, issuer: Any) -> bytes:
        """PEM."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        builder = (
            x509.CertificateBuilder().issuer_name(issuer).subject_name(self.subject).public_key(self.public)
            .serial_number(x509.random_serial_number()).not_valid_before(self.start).not_valid_after(self.end)
            .add_extension(x509.BasicConstraints(ca=self.ca, path_length=0 if self.ca else None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.public), critical=False)
        )  # fmt: skip
        for extension, critical in self._usages():
            builder = builder.add_extension(extension, critical=critical)
        pem: bytes = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return pem

    def _usages(self) -> list[tuple[Any, bool]]:
        from cryptography import x509
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage

        ca = self.ca
        found: list[tuple[Any, bool]] = [(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True)]
        if not ca:
            usage = Usage.SERVER_AUTH if self.hosts else Usage.CLIENT_AUTH
            found.append((x509.ExtendedKeyUsage([usage]), False))
        if self.hosts:
            found.append((x509.SubjectAlternativeName([_host(host) for host in self.hosts]), False))
        return found


def _host(host: str) -> Any:
    import ipaddress

    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def remove_torn(directory: Path, name: str = "") -> None:
    """Delete what writers (`write_private`) that were killed have left of a file of that name, or of all in a directory.

    Best effort: a process that starts on a disk that cannot be written starts nevertheless."""
    for left in directory.glob(f".{name}.*" if name else ".*"):
        with contextlib.suppress(OSError):
            left.unlink()


def write_private(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file that only its owner reads; all of it or nothing.

    Without `sync` that holds while the machine is up: after a power failure the file may be old, absent or torn."""
    # As text: an agent writes half a dozen such files for a pod, and to join Paths costs more than to write.
    parent, name = os.path.split(path)
    temporary = os.path.join(parent, f".{name}.{os.getpid()}")
    try:
        descriptor = _create(temporary)
    except FileNotFoundError:
        os.makedirs(parent, mode=0o700, exist_ok=True)
        descriptor = _create(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
