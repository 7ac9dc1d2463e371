"""kctl's configuration: clusters, users and contexts, shaped like a kubeconfig.

Looked for in --config, $PINNACE_CONFIG, ~/.pinnace/config, and last, on a control plane's own machine, where the
control plane leaves its administrator's context.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinnace.errors import BadRequest

ADMIN = Path("/var/lib/pinnace/controlplane/admin.yaml")


@dataclass(frozen=True, slots=True)
class Context:
    """Where to dial and as whom; certificates in PEM."""

    name: str
    server: str
    namespace: str
    ca: bytes
    certificate: bytes
    key: bytes


def path(flag: str = "") -> Path:
    """The file to read and write."""
    if flag or os.environ.get("PINNACE_CONFIG"):
        return Path(flag or os.environ["PINNACE_CONFIG"])
    own = Path.home() / ".pinnace" / "config"
    return ADMIN if not own.exists() and os.access(ADMIN, os.R_OK) else own


def load(file: Path) -> dict[str, Any]:
    """The whole configuration; an empty one when there is no file. Raises BadRequest."""
    import yaml

    try:
        text = file.read_text()
    except FileNotFoundError:
        return {
            "apiVersion": "pinnace.dev/v1",
            "kind": "Config",
            "current-context": "",
            "contexts": [],
            "clusters": [],
            "users": [],
        }
    except OSError as error:
        raise BadRequest(f"{file}: {error.strerror}") from None
    try:
        config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise BadRequest(f"{file} is not a kctl configuration: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise BadRequest(f"{file} is not a kctl configuration")
    return config


def save(file: Path, config: dict[str, Any]) -> None:
    import yaml

    from pinnace import pki

    pki.write_private(file, yaml.safe_dump(config, sort_keys=False).encode())


def entry(config: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """`clusters`, `users` or `contexts` by name. Raises BadRequest."""
    for item in config.get(kind) or []:
        if item.get("name") == name:
            return dict(item.get(kind[:-1]) or {})
    known = ", ".join(str(item.get("name")) for item in config.get(kind) or []) or "none"
    raise BadRequest(f'{kind[:-1]} "{name}" does not exist in the configuration (it has: {known})')


def current(flags: Any) -> Context:
    """The context to use. Raises BadRequest with what to do when there is none."""
    file = path(flags.config)
    config = load(file)
    name = flags.context or config.get("current-context") or ""
    if not name:
        raise BadRequest(f"no cluster is configured in {file}: `kctl lab up` makes one on this machine")
    context = entry(config, "contexts", name)
    cluster, user = entry(config, "clusters", context["cluster"]), entry(config, "users", context["user"])
    return Context(
        name=name, server=cluster["server"], namespace=flags.namespace or context.get("namespace") or "default",
        ca=_data(cluster, "certificate-authority"), certificate=_data(user, "client-certificate"),
        key=_data(user, "client-key"),
    )  # fmt: skip


def _data(item: dict[str, Any], name: str) -> bytes:
    if f"{name}-data" in item:
        return base64.b64decode(item[f"{name}-data"])
    return Path(item[name]).read_bytes()


def merge(config: dict[str, Any], other: dict[str, Any], name: str) -> None:
    """Take the first context of `other` into `config` under `name`, and make it the current one."""
    source = other["contexts"][0]["context"]
    put(config, "clusters", name, "cluster", entry(other, "clusters", source["cluster"]))
    put(config, "users", name, "user", entry(other, "users", source["user"]))
    put(config, "contexts", name, "context", {"cluster": name, "user": name, "namespace": "default"})
    config["current-context"] = name


def put(config: dict[str, Any], kind: str, name: str, key: str, value: dict[str, Any]) -> None:
    kept = [item for item in config.get(kind) or [] if item.get("name") != name]
    config[kind] = [*kept, {"name": name, key: value}]


def drop(config: dict[str, Any], name: str) -> None:
    """Forget a context with its cluster and user; another one becomes current."""
    for kind in ("contexts", "clusters", "users"):
        config[kind] = [item for item in config.get(kind) or [] if item.get("name") != name]
    if config.get("current-context") == name:
        config["current-context"] = config["contexts"][0]["name"] if config["contexts"] else ""
