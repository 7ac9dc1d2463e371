"""Signing requests: what a host sends of a key that never leaves it, and the proof that a host holds a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pinnace import pki
from pinnace.errors import Invalid


def new(user: str, groups: tuple[str, ...]) -> pki.Pair:
    """A key and a signing request (in `certificate`)."""
    return of(pki.key_pem(pki.new_key()), user, groups)


def of(key: bytes, user: str, groups: tuple[str, ...]) -> pki.Pair:
    """A signing request of an existing key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    signer: Any = serialization.load_pem_private_key(key, None)
    request = x509.CertificateSigningRequestBuilder().subject_name(pki.subject_of(user, groups)).sign(signer, hashes.SHA256())
    return pki.Pair(request.public_bytes(serialization.Encoding.PEM), key)


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A signing request whose signature and subject have been checked. `key_hash` is the SHA-256 of its public key, in hex."""

    user: str
    groups: tuple[str, ...]
    public: Any
    key_hash: str

    @classmethod
    def parse(cls, csr: bytes, user: str, groups: tuple[str, ...]) -> SigningRequest:
        """Raises Invalid when the request is broken, has another kind of key or names another user."""
        from cryptography import x509
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            request = x509.load_pem_x509_csr(csr)
            public = request.public_key()
            named = request.subject == pki.subject_of(user, groups)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid(f"not a certificate signing request: {str(error)[:100]}") from None
        # The kind of key first: it bounds what checking the signature costs.
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise Invalid("the signing request must have an ECDSA key on the curve P-256")
        if not named or not request.is_signature_valid:
            raise Invalid(f"the signing request must be signed and name CN={user}, O={','.join(groups)}")
        return cls(user, groups, public, pki.hash_of(public))

    def sign(self, ca: pki.Pair, *, now: float, lifetime: float, uid: str = "") -> bytes:
        """A client certificate for `lifetime` seconds; `uid` is the user's."""
        return pki.issue_for(ca, self.public, pki.subject_of(self.user, self.groups, uid), now=now, lifetime=lifetime)


def prove(key: bytes, message: bytes) -> bytes:
    """A signature of `message`, for `verify`."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    signer: Any = serialization.load_pem_private_key(key, None)
    signature: bytes = signer.sign(message, ec.ECDSA(hashes.SHA256()))
    return signature


def verify(certificate: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the key of `certificate` has signed `message`."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    public: Any = x509.load_pem_x509_certificate(certificate).public_key()
    try:
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
