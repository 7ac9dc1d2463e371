"""A node's WireGuard keys: made once, and the private one is in a file that only root reads."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.network import wireguard
from pinnace import pki

_NAME = "wireguard.key"


@dataclass(frozen=True, slots=True)
class TunnelKey:
    """`public` as wg(8) writes it. The private key is left out of what is logged."""

    public: str
    private: bytes = field(repr=False)


def load(folder: Path) -> TunnelKey:
    """The node's keys, made now if there are none: two lines, private and public. A torn file counts as absent. Raises
    OSError."""
    pki.remove_torn(folder, _NAME)
    path = folder / _NAME
    try:
        private, public = path.read_text().split()
        found = base64.b64decode(private, validate=True)
        if len(found) == 32 and wireguard.is_key(public):
            return TunnelKey(public, found)
    except (FileNotFoundError, ValueError):
        pass
    made = _make()
    pki.write_private(path, f"{base64.b64encode(made.private).decode()}\n{made.public}\n".encode())
    return made


def _make() -> TunnelKey:
    # Here: later starts read the file, and need no cryptography.
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    made = X25519PrivateKey.generate()
    return TunnelKey(base64.b64encode(made.public_key().public_bytes_raw()).decode(), made.private_bytes_raw())
