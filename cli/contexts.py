"""kctl's configuration: clusters, users and contexts, shaped like a kubeconfig.

Looked for in --config, $PINNACE_CONFIG, ~/.pinnace/config, and last, on a control plane's own machine, where the
control plane leaves its administrator's context. Whatever the file holds, `load` returns lists of named objects or says
in one line what is wrong and where.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import reading
from pinnace import certificate
from pinnace.errors import BadRequest, Invalid

ADMIN = Path("/var/lib/pinnace/controlplane/admin.yaml")
MAX_PORT = 65_535
KINDS = ("contexts", "clusters", "users")
_SERVER = re.compile(r"unix:(?://)?/[^\s]+|[^\s/:]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}", re.ASCII)
# Ways in which a kubeconfig's user may authenticate, and kctl's may not.
_OTHER_CREDENTIALS = ("token", "tokenFile", "username", "password", "exec", "auth-provider")


@dataclass(frozen=True, slots=True)
class Context:
    """Address and identity of a client; certificates in PEM."""

    name: str
    server: str
    namespace: str
    ca: bytes
    certificate: bytes
    key: bytes
    # The URL of the REST API, which other clients than kctl dial; empty where it is not known.
    rest: str = ""


def path(flag: str = "") -> Path:
    """The file to read and write. Raises BadRequest without a home directory."""
    if flag or os.environ.get("PINNACE_CONFIG"):
        return Path(flag or os.environ["PINNACE_CONFIG"])
    try:
        own = Path.home() / ".pinnace" / "config"
    except RuntimeError:
        raise BadRequest("there is no home directory: set HOME, or PINNACE_CONFIG to the configuration file") from None
    return ADMIN if not own.exists() and os.access(ADMIN, os.R_OK) else own


def load(file: Path) -> dict[str, Any]:
    """The whole configuration; an empty one when there is no file, or nothing in it. Raises BadRequest."""
    empty = {
        "apiVersion": "pinnace.dev/v1",
        "kind": "Config",
        "current-context": "",
        "contexts": [],
        "clusters": [],
        "users": [],
    }
    if not file.is_symlink() and not _exists(file):
        return empty
    config = _parse(file)
    return empty if config is None else _checked(file, config)


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError) as error:
        raise BadRequest(f"{str(file)[:200]}: {getattr(error, 'strerror', None) or error}") from None


def _parse(file: Path) -> Any:
    """The file's one document. Raises BadRequest."""
    from pinnace import manifest

    text = reading.text(file)
    try:
        documents = manifest.load(text.encode(), str(file))
    except Invalid as error:
        raise BadRequest(f"{file} is not a kctl configuration: {error.message.splitlines()[0]}") from None
    if len(documents) > 1:
        raise BadRequest(f"{file} is not a kctl configuration: it has {len(documents)} documents")
    return documents[0].value if documents else None


def _checked(file: Path, config: Any) -> dict[str, Any]:
    """With lists of named objects, each with a body. Raises BadRequest that names the place."""
    if not isinstance(config, dict):
        raise BadRequest(f"{file} is not a kctl configuration: expected an object, got {_kind(config)}")
    if not isinstance(config.get("current-context") or "", str):
        raise BadRequest(f"{file}: current-context: expected a string, got {_kind(config['current-context'])}")
    for kind in KINDS:
        items = config.get(kind)
        if items is not None and not isinstance(items, list):
            raise BadRequest(f"{file}: {kind}: expected a list, got {_kind(items)}")
        config[kind] = items or []
        for index, item in enumerate(config[kind]):
            _check_item(f"{file}: {kind}[{index}]", kind[:-1], item)
    return config


def _check_item(where: str, body: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise BadRequest(f"{where}: expected an object, got {_kind(item)}")
    if not isinstance(item.get("name"), str) or not item["name"]:
        raise BadRequest(f"{where}.name: expected a name, got {_kind(item.get('name'))}")
    if not isinstance(item.get(body) or {}, dict):
        raise BadRequest(f"{where}.{body}: expected an object, got {_kind(item[body])}")


def _kind(value: Any) -> str:
    """What a value is, without the value: it may be a secret in the wrong place."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "nothing"}
    return names.get(type(value), "a number")


def save(file: Path, config: dict[str, Any]) -> None:
    """Mode 0600, all of it or nothing. Raises BadRequest."""
    from pinnace import pki
    from pinnace.manifest import writing

    try:
        pki.write_private(file, f"{writing.dump(config)}\n".encode())
    except OSError as error:
        raise BadRequest(f"{file} cannot be written: {error.strerror}") from None


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
    context = _Body(file, "context", name, entry(config, "contexts", name))
    cluster_name, user_name = context.text("cluster"), context.text("user")
    cluster = _Body(file, "cluster", cluster_name, entry(config, "clusters", cluster_name))
    user = _Body(file, "user", user_name, entry(config, "users", user_name))
    return Context(
        name=name, server=_server(cluster), namespace=flags.namespace or context.optional("namespace") or "default",
        ca=cluster.certificate("certificate-authority"), certificate=user.certificate("client-certificate"),
        key=user.private_key("client-key"), rest=cluster.optional("rest-server"),
    )  # fmt: skip


def _server(cluster: _Body) -> str:
    """HOST:PORT or unix:///PATH. Raises BadRequest."""
    server = cluster.text("server")
    if server.startswith(("http://", "https://")):
        raise BadRequest(f"{cluster}: server {server[:100]} is a REST API: kctl speaks gRPC, to HOST:PORT or unix:///PATH")
    port = "" if server.startswith("unix:") else server.rpartition(":")[2]
    if not _SERVER.fullmatch(server) or int(port or 1) > MAX_PORT:
        raise BadRequest(f'{cluster}: server "{server[:100]}" is neither HOST:PORT nor unix:///PATH')
    return server


@dataclass(frozen=True, slots=True)
class _Body:
    """A context's, cluster's or user's fields; errors name it and the file."""

    file: Path
    kind: str
    name: str
    fields: dict[str, Any]

    def __str__(self) -> str:
        return f'{self.file}: {self.kind} "{self.name}"'

    def optional(self, field: str) -> str:
        """Empty when the field is absent. Raises BadRequest for what is no string."""
        value = self.fields.get(field)
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"{self}: {field}: expected a string, got {_kind(value)}")
        return value or ""

    def text(self, field: str) -> str:
        """Raises BadRequest when the field is absent or no string."""
        value = self.optional(field)
        if not value:
            raise BadRequest(f"{self} has no {field}")
        return value

    def content(self, field: str) -> bytes:
        """Of `field`-data, or of the file that `field` names, relative to the configuration's directory. Raises BadRequest."""
        if data := self.optional(f"{field}-data"):
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except ValueError:
                raise BadRequest(f"{self}: {field}-data is not base64") from None
        if name := self.optional(field):
            return reading.text(self.file.parent / name).encode()
        raise BadRequest(f"{self} has no {field}-data{self._instead()}")

    def certificate(self, field: str) -> bytes:
        """Exactly one: a cluster has one CA, and a second one that slipped into a file would be trusted as well."""
        try:
            return certificate.canonical(self.content(field))
        except ValueError as error:
            raise BadRequest(f"{self}: {field}: {error}") from None

    def private_key(self, field: str) -> bytes:
        """Raises BadRequest for what is no private key in PEM."""
        found = self.content(field)
        if b"PRIVATE KEY-----" not in found:
            raise BadRequest(f"{self}: {field} is not a private key in PEM")
        return found

    def _instead(self) -> str:
        found = next((name for name in _OTHER_CREDENTIALS if name in self.fields), "")
        return f" but {found}: kctl authenticates with a client certificate and its key" if found else ""


def merge(config: dict[str, Any], other: dict[str, Any], name: str) -> None:
    """Take the first context of `other` into `config` under `name`, and make it the current one. Raises BadRequest."""
    if not other["contexts"]:
        raise BadRequest("the configuration to take over has no context")
    source = entry(other, "contexts", other["contexts"][0]["name"])
    put(config, "clusters", name, "cluster", entry(other, "clusters", source.get("cluster", "")))
    put(config, "users", name, "user", entry(other, "users", source.get("user", "")))
    put(config, "contexts", name, "context", {"cluster": name, "user": name, "namespace": "default"})
    config["current-context"] = name


def put(config: dict[str, Any], kind: str, name: str, key: str, value: dict[str, Any]) -> None:
    kept = [item for item in config.get(kind) or [] if item.get("name") != name]
    config[kind] = [*kept, {"name": name, key: value}]


def drop(config: dict[str, Any], name: str) -> None:
    """Remove a context with its cluster and user. If it was the current one, the only other becomes current; of several none
    does, so that no command meets a cluster that was not chosen."""
    for kind in KINDS:
        config[kind] = [item for item in config.get(kind) or [] if item.get("name") != name]
    if config.get("current-context") == name:
        config["current-context"] = config["contexts"][0]["name"] if len(config["contexts"]) == 1 else ""
