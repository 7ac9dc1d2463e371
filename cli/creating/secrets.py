"""Secrets from flags: generic ones, credentials of registries, and certificates with their keys.

Source: kubectl's pkg/cmd/create (create_secret.go, create_secret_docker.go, create_secret_tls.go).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli.creating import data
from cli.creating.data import Data
from cli.creating.workloads import split
from pinnace.errors import BadRequest

DOCKER_KEY = ".dockerconfigjson"


def add_generic(parser: Any) -> None:
    data.add_sources(parser)
    parser.add_argument("--type", default="", help="type of the secret (default: Opaque)")


def generic(args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest."""
    return _secret(args, data.collected(args, "Secret"), args.type)


def add_registry(parser: Any) -> None:
    parser.add_argument(
        "--docker-server", default="https://index.docker.io/v1/", help="registry of the secret (default: %(default)s)"
    )  # fmt: skip
    parser.add_argument("--docker-username", default="", help="user name at the registry")
    parser.add_argument("--docker-password", default="", help="password at the registry")
    parser.add_argument("--docker-email", default="", help="email address at the registry")
    data.add_files(parser)
    data.add_hash(parser)


def registry(args: Any, command: list[str]) -> dict[str, Any]:
    """From the docker flags, or files as they are. Raises BadRequest."""
    found = Data("Secret")
    if args.from_file:
        found.add_files(split(args.from_file), key=DOCKER_KEY)
    elif not (args.docker_username and args.docker_password and args.docker_server):
        raise BadRequest(
            "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required"
        )
    else:
        found.put(DOCKER_KEY, _docker_config(args))
    return _secret(args, found.found, "kubernetes.io/dockerconfigjson")


def _docker_config(args: Any) -> bytes:
    auth = data.encoded(f"{args.docker_username}:{args.docker_password}".encode())
    entry = {"username": args.docker_username, "password": args.docker_password}
    entry |= {"email": args.docker_email} if args.docker_email else {}
    return json.dumps({"auths": {args.docker_server: {**entry, "auth": auth}}}, separators=(",", ":")).encode()


def add_tls(parser: Any) -> None:
    parser.add_argument("--cert", default="", metavar="PATH", help="file with the certificate, PEM")
    parser.add_argument("--key", default="", metavar="PATH", help="file with its private key, PEM")
    data.add_hash(parser)


def tls(args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest, also for a key of another certificate."""
    if not args.cert or not args.key:
        raise BadRequest("key and cert must be specified")
    certificate, key = data.read(Path(args.cert)), data.read(Path(args.key))
    _check_pair(certificate, key)
    return _secret(args, {"tls.crt": certificate, "tls.key": key}, "kubernetes.io/tls")


def _check_pair(certificate: bytes, key: bytes) -> None:
    """Raises BadRequest."""
    # Imported here: it takes as long as the rest of the command.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        owner = x509.load_pem_x509_certificates(certificate)[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise BadRequest("tls: failed to find any PEM data in certificate input") from None
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadRequest("tls: failed to find any PEM data in key input") from None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if owner.public_bytes(*form) != private.public_key().public_bytes(*form):
        raise BadRequest("tls: private key does not match public key")


def _secret(args: Any, found: dict[str, bytes], type_: str) -> dict[str, Any]:
    values = {key: data.encoded(value) for key, value in found.items()}
    body = {key: value for key, value in (("type", type_), ("data", values)) if value}
    return data.named(body, args, {"data": values, "type": type_, "kind": "Secret"})
