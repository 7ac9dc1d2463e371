"""TLS to etcd: PEM files to channel credentials, checked here, because gRPC tells of a bad file only that no member answers."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from pinnace.errors import Unavailable


def credentials(*, ca: str = "", certificate: str = "", key: str = "") -> grpc.ChannelCredentials:
    """From paths; `certificate` and `key` only together. Without `ca` members are verified with gRPC's own root certificates.

    The files are read now: a new certificate is used after a restart. Raises Unavailable with the name of the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in filter(None, (ca, certificate, key)):
        if not Path(path).is_file():
            raise Unavailable(f"etcd: {path}: no such file")
    try:
        if ca:
            subject = ca
            context.load_verify_locations(ca)
        if certificate:
            subject = f"{certificate} and {key}"
            # A callback, so that a key with a passphrase is an error and not a prompt.
            context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        raise Unavailable(f"etcd: {subject}: {error.strerror or error}") from None
    return grpc.ssl_channel_credentials(*(_read(path) for path in (ca, key, certificate)))


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
