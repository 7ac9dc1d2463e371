"""The control plane's own files: CA, server certificate and the administrator's context, made on first start."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from pinnace import pki
from pinnace.pki import Pair

# A certificate is replaced at start when it ends within this, in seconds.
RENEW_BEFORE = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Files:
    ca: Pair
    server: Pair


def ensure(folder: Path, *, endpoint: str, now: float) -> Files:
    """Read or make everything under `folder`; `endpoint` is what the administrator's context dials."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(folder, 0o700)
    ca = _pair(folder / "ca", lambda: pki.new_ca(now), now)
    hosts = (pki.SERVER_NAME, socket.gethostname() or "localhost", "localhost")
    server = _pair(folder / "server", lambda: pki.issue(ca, pki.SERVER_NAME, (), now=now, hosts=hosts), now)
    admin = _pair(folder / "admin", lambda: pki.issue(ca, "kubernetes-admin", ("system:masters",), now=now), now)
    pki.write_private(folder.parent / "admin.yaml", context_file(ca, admin, endpoint))
    return Files(ca, server)


def _pair(stem: Path, make: Callable[[], Pair], now: float) -> Pair:
    certificate, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
    if certificate.exists() and key.exists():
        pair = Pair(certificate.read_bytes(), key.read_bytes())
        if stem.name == "ca" or pki.expires(pair.certificate) - now > RENEW_BEFORE:
            return pair
    pair = make()
    pki.write_private(key, pair.key)
    pki.write_private(certificate, pair.certificate)
    return pair


def context_file(ca: Pair, client: Pair, endpoint: str) -> bytes:
    """A kctl configuration with one context, shaped like a kubeconfig."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    config = {
        "apiVersion": "pinnace.dev/v1",
        "kind": "Config",
        "current-context": "default",
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "admin", "namespace": "default"}}],
        "clusters": [
            {"name": "default", "cluster": {"server": endpoint, "certificate-authority-data": encoded(ca.certificate)}}
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": encoded(client.certificate),
                    "client-key-data": encoded(client.key),
                },
            }
        ],
    }
    return yaml.safe_dump(config, sort_keys=False).encode()
