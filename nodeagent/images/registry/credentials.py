"""Image pull secrets: what they hold, and which credential goes to which registry. Pure.

Source: Kubernetes' "Pull an Image from a Private Registry" and "Images: interpretation of config.json". A key is a host
with an optional port, labels of which may be globs, and an optional path: the credential is for repositories below it.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pinnace.oci.reference import DOCKER_HUB

_HUB = ("index.docker.io", "registry-1.docker.io", DOCKER_HUB)
MAX_ENTRIES = 100


class BadSecret(ValueError):
    """A secret that holds no credentials; the text says why, and nothing of what it holds."""


@dataclass(frozen=True, slots=True)
class Credential:
    host: str
    path: str
    username: str
    password: str = field(repr=False)


def parse_pull_secret(secret: Any) -> list[Credential]:
    """Of a Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg. Raises BadSecret."""
    name = secret.metadata.name
    if secret.type == "kubernetes.io/dockerconfigjson":
        return parse_config(secret.data.get(".dockerconfigjson", b""), name)
    if secret.type == "kubernetes.io/dockercfg":
        return _entries(_json(secret.data.get(".dockercfg", b""), name), name)
    raise BadSecret(f'secret "{name}" is of type {secret.type or "Opaque"}, not kubernetes.io/dockerconfigjson')


def parse_config(data: bytes, name: str) -> list[Credential]:
    """Of a Docker client's config.json. Raises BadSecret."""
    return _entries(_json(data, name).get("auths"), name)


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadSecret(f'secret "{name}" does not hold a JSON object')
    return value


def _entries(value: Any, name: str) -> list[Credential]:
    if not isinstance(value, dict) or len(value) > MAX_ENTRIES:
        raise BadSecret(f'secret "{name}" does not hold registries (at most {MAX_ENTRIES})')
    return [_credential(key, entry, name) for key, entry in value.items()]


def _credential(key: str, entry: Any, name: str) -> Credential:
    parts = urlsplit(key if "://" in key else f"https://{key}")
    path = parts.path.removeprefix("/v1").removeprefix("/v2").strip("/")
    entry = entry if isinstance(entry, dict) else {}
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            # Some tools pad what they encode with zero bytes.
            text = base64.b64decode(str(entry["auth"]), validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            raise BadSecret(f'secret "{name}": auth of {parts.netloc[:100]} is not base64') from None
        username, _, password = text.partition(":")
    if not username:
        raise BadSecret(f'secret "{name}" has no user for {parts.netloc[:100]}')
    return Credential(DOCKER_HUB if parts.netloc in _HUB else parts.netloc, path, username, password)


def matching(credentials: Iterable[Credential], host: str, repository: str) -> list[Credential]:
    """Those for a repository at a host, the one for the longest path first."""
    wanted = DOCKER_HUB if host in _HUB else host
    found = [item for item in credentials if _same_host(item.host, wanted) and _below(item.path, repository)]
    return sorted(dict.fromkeys(found), key=lambda item: len(item.path), reverse=True)


def _same_host(pattern: str, host: str) -> bool:
    (name, _, port), (other, _, other_port) = pattern.partition(":"), host.partition(":")
    labels, others = name.split("."), other.split(".")
    # A glob stands for a part of one label: *.example.com is not for a.b.example.com.
    return port == other_port and len(labels) == len(others) and all(map(fnmatch.fnmatchcase, others, labels))


def _below(path: str, repository: str) -> bool:
    return not path or f"{repository}/".startswith(f"{path}/")
