"""The key that signs tokens of service accounts: a file of mode 0600 next to the CA, made at the first start.

Control planes of one cluster share it, as they share the CA. What verifies tokens elsewhere gets the public half as a JWKS.
Source: RFC 7517, RFC 7518 (ES256); kube-apiserver's --service-account-signing-key-file.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinnace import pki
from pinnace.errors import Invalid

ALGORITHM = "ES256"
_FILE = "sa.key"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A P-256 key. `id` names it in the header of tokens: the hash of its public half, as kube-apiserver has it."""

    private: Any
    id: str

    @property
    def public(self) -> Any:
        return self.private.public_key()

    def jwk(self) -> dict[str, str]:
        """The public half. Raises nothing."""
        from jwt.algorithms import ECAlgorithm

        found: dict[str, str] = json.loads(ECAlgorithm.to_jwk(self.public))
        return {"use": "sig", "alg": ALGORITHM, "kid": self.id, **found}


def load(directory: Path) -> SigningKey:
    """The key in a directory, made when there is none. Raises Invalid for a file that is no such key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = directory / _FILE
    if not path.exists():
        pki.write_private(path, pki.key_pem(pki.new_key()))
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
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
