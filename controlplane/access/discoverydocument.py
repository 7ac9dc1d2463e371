"""The OpenID Connect documents by which others verify tokens of this cluster's service accounts. Pure.

Source: OpenID Connect Discovery 1.0, RFC 7517; kube-apiserver's /.well-known/openid-configuration and /openid/v1/jwks.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.access.signingkey import ALGORITHM, SigningKey

CONFIGURATION_PATH, JWKS_PATH = "/.well-known/openid-configuration", "/openid/v1/jwks"
JWKS_TYPE = "application/jwk-set+json"


def configuration(issuer: str, jwks_uri: str) -> dict[str, object]:
    """The discovery document; `jwks_uri` is where `jwks` is served."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    }


def jwks(keys: Iterable[SigningKey]) -> dict[str, object]:
    """The public keys that sign tokens."""
    return {"keys": [key.jwk() for key in keys]}
