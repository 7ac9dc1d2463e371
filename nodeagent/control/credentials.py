"""The files that identify a node: ca.crt, node.crt and node.key, and node.next.key while a new certificate is asked for.

A certificate and its key are two files, and the agent may end between writing them. So a new key is stored before it is
used, the certificate replaces the old one, and the key then takes its place; `load` completes what was cut short.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from pinnace import certificate, pki
from pinnace.certificate import Validity
from pinnace.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Pair:
    """The node's certificate and key, and the CA that authenticates the control plane, PEM."""

    ca: bytes
    certificate: bytes
    key: bytes

    @property
    def validity(self) -> Validity:
        return certificate.validity(self.certificate)


class Credentials:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key, self._next = folder / "node.key", folder / "node.next.key"
        self._certificate, self._ca = folder / "node.crt", folder / "ca.crt"

    def load(self) -> Pair:
        """Raises FileNotFoundError for a host that has not joined, Unauthenticated when the files are damaged."""
        try:
            ca, pem = (certificate.canonical(path.read_bytes()) for path in (self._ca, self._certificate))
        except ValueError as error:
            raise Unauthenticated(f"{self._folder}: {error}: join again") from None
        if self._next.exists() and _matches(pem, self._next):
            with contextlib.suppress(OSError):
                # On a disk that cannot be written it stays where it is.
                os.replace(self._next, self._key)
                return Pair(ca, pem, self._key.read_bytes())
            return Pair(ca, pem, self._next.read_bytes())
        return Pair(ca, pem, self._key.read_bytes())

    def pending_key(self) -> bytes:
        """The key of a request that was not answered; empty for none."""
        return self._next.read_bytes() if self._next.exists() else b""

    def keep_pending(self, key: bytes) -> None:
        """Before the request is sent: repeated after a crash, it must be of the same key."""
        pki.write_private(self._next, key)

    def drop_pending(self) -> None:
        """The next request shall be of another key."""
        self._next.unlink(missing_ok=True)

    def accept(self, answer: str, *, ca: bytes | None = None) -> None:
        """Store the certificate that was issued for the pending key, and with `ca` (PEM) the CA to trust.

        Raises Unauthenticated, and stores nothing, for one that is not of that key."""
        try:
            pem = certificate.canonical(answer.encode())
            certificate.validity(pem)
        except ValueError as error:
            raise Unauthenticated(f"the control plane sent no certificate: {error}") from None
        if not _matches(pem, self._next):
            raise Unauthenticated("the control plane sent a certificate for another key")
        if ca is not None:
            pki.write_private(self._ca, ca)
        pki.write_private(self._certificate, pem)
        os.replace(self._next, self._key)


def _matches(pem: bytes, key: Path) -> bool:
    """Whether the certificate is of the key. `ssl` can tell, but only of files: one in memory, for the disk may be full."""
    with open(os.memfd_create("certificate"), "wb") as file:
        file.write(pem)
        file.flush()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(f"/proc/self/fd/{file.fileno()}", key)
        except ssl.SSLError:
            return False
    return True
