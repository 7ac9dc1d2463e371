"""Access control put together: what authenticates tokens, decides about requests and answers reviews, for both APIs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.access import signingkey
from controlplane.access.accounttokens import ISSUER, AccountTokens
from controlplane.access.authorizers import Authorizers
from controlplane.access.bearer import BearerTokens
from controlplane.access.reviews import Reviews
from controlplane.access.signingkey import SigningKey
from controlplane.access.tokenfile import TokenFile
from controlplane.access.tokenrequest import TokenRequests
from controlplane.store import Store
from pinnace.clock import Ids
from pinnace.errors import BadRequest, Invalid


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """`issuer` of the tokens of service accounts, `audiences` of the API (empty: the issuer), and a `file` of static tokens.
    `jwks_uri`: where the issuer's keys are (empty: on the HTTPS port)."""

    issuer: str = ISSUER
    audiences: Sequence[str] = ()
    file: str = ""
    jwks_uri: str = ""


@dataclass(frozen=True, slots=True)
class AccessControl:
    authorizers: Authorizers
    tokens: BearerTokens
    reviews: Reviews
    # What the documents of `discoverydocument` are made of.
    issuer: str
    keys: tuple[SigningKey, ...]
    jwks_uri: str = ""


def build(store: Store, ids: Ids, authorizers: Authorizers, keys: Path, settings: TokenSettings) -> AccessControl:
    """`keys` is the directory with the signing key. Raises Invalid for keys and files that cannot be used."""
    key = signingkey.load(keys)
    others = signingkey.verifying(keys)
    accounts = AccountTokens(store, key, verifying=others, issuer=settings.issuer, audiences=settings.audiences)
    tokens = BearerTokens(store.view, accounts, _file(settings.file))
    reviews = Reviews(authorizers, tokens, TokenRequests(store, accounts, ids))
    return AccessControl(authorizers, tokens, reviews, settings.issuer, (key, *others), settings.jwks_uri)


def _file(path: str) -> TokenFile:
    """Raises Invalid."""
    if not path:
        return TokenFile()
    try:
        return TokenFile(Path(path).read_text())
    except (OSError, UnicodeDecodeError, BadRequest) as error:
        raise Invalid(f"--token-auth-file {path}: {error}") from None
