"""The key that signs tokens of service accounts: a file of mode 0600 next to the CA, made at the first start.

Control planes of one cluster share it, as they share the CA. What verifies tokens elsewhere gets the public half as a JWKS.
Source: RFC 7517, RFC 7518 (ES256); kube-apiserver's --service-account-signing-key-file.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinnace import pki
from pinnace.errors import Invalid

ALGORITHM = "ES256"
_FILE = "sa.key"
# Keys of tokens that are still good: an operator who rotates the key renames it so (deploy/README.md).
_OTHERS = "sa-*.key"
# Bytes of each of the two numbers of a signature.
_SIZE = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A P-256 key. `id` names it in the header of tokens: the hash of its public half, as kube-apiserver has it."""

    private: Any
    id: str

    @property
    def public(self) -> Any:
        return self.private.public_key()

    def sign(self, payload: Mapping[str, object]) -> str:
        """A JWT (RFC 7515, RFC 7519). Without PyJWT: the first pod would wait for its import, some 30 ms."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        signed = b".".join(map(_segment, ({"alg": ALGORITHM, "kid": self.id, "typ": "JWT"}, payload)))
        r, s = decode_dss_signature(self.private.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big")
        return b".".join((signed, _base64(signature))).decode()

    def jwk(self) -> dict[str, str]:
        """The public half. Raises nothing."""
        from jwt.algorithms import ECAlgorithm

        found: dict[str, str] = json.loads(ECAlgorithm.to_jwk(self.public))
        return {"use": "sig", "alg": ALGORITHM, "kid": self.id, **found}


def load(directory: Path) -> SigningKey:
    """The key in a directory that signs, made when there is none. Raises Invalid for a file that is no such key."""
    path = directory / _FILE
    if not path.exists():
        pki.write_private(path, pki.key_pem(pki.new_key()))
    return _read(path)


def verifying(directory: Path) -> tuple[SigningKey, ...]:
    """The keys in a directory that only verify: earlier ones, and one that is to sign next. Raises Invalid as `load` does."""
    return tuple(map(_read, sorted(directory.glob(_OTHERS))))


def _read(path: Path) -> SigningKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        private = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise Invalid(f"{path}: not a private key ({error})") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise Invalid(f"{path}: not a P-256 key")
    return SigningKey(private, _id(private.public_key()))


def _id(public: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _base64(hashlib.sha256(der).digest()).decode()


def _segment(value: Mapping[str, object]) -> bytes:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
