"""TLS to etcd: PEM files to channel credentials, checked here, because gRPC tells of a bad file only that no member answers."""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from pinnace.errors import Unavailable

log = logging.getLogger("pinnace.store")
# Of each file: inode, time of the last change in nanoseconds, size; empty for one that is not there.
_State = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Files:
    """Paths, of which any may be empty; `certificate` and `key` only together. Without `ca` members are verified with gRPC's
    own root certificates."""

    ca: str = ""
    certificate: str = ""
    key: str = ""

    def read(self) -> grpc.ChannelCredentials:
        """Raises Unavailable with the name of the file that cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for path in self._paths():
            if not Path(path).is_file():
                raise Unavailable(f"etcd: {path}: no such file")
        try:
            if self.ca:
                subject = self.ca
                context.load_verify_locations(self.ca)
            if self.certificate:
                subject = f"{self.certificate} and {self.key}"
                # A callback, so that a key with a passphrase is an error and not a prompt.
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except OSError as error:
            raise Unavailable(f"etcd: {subject}: {error.strerror or error}") from None
        return grpc.ssl_channel_credentials(*(_read(path) for path in (self.ca, self.key, self.certificate)))

    def state(self) -> _State:
        return tuple(_stat(path) for path in self._paths())

    def _paths(self) -> list[str]:
        return [path for path in (self.ca, self.certificate, self.key) if path]


class Credentials:
    """Those of the files, as they were when they were last read and could be used."""

    def __init__(self, files: Files) -> None:
        """Raises Unavailable."""
        self._files = files
        self._state = files.state()
        self.current = files.read()

    def renew(self) -> bool:
        """Read the files if they have changed since; whether there are new credentials. While the files do not fit each other,
        as when one of them is still to be replaced, the old ones stay, and the next call tries again."""
        state = self._files.state()
        if state == self._state:
            return False
        try:
            self.current = self._files.read()
        except Unavailable as error:
            log.warning("etcd_credentials_unusable cause=%s", error.message)
            return False
        self._state = state
        return True


def _stat(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
