"""What a URL path means: an object, a collection, a subresource; or a path that is no resource.

Source: RequestInfo of k8s.io/apiserver (pkg/endpoints/request), and the paths of the Kubernetes API reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import unquote

# The subresource that has paths of its own behind it.
PROXY = "proxy"
# Second parts after a namespace's name that are its subresources, not resources in it.
_OF_NAMESPACES = ("status", "finalize")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}


@dataclass(frozen=True, slots=True)
class Target:
    """`group` is empty for core kinds; `resource` is the plural; `rest` is the path behind a proxy subresource as
    it came, percent-encoded, with its first slash."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods`, or `leases.coordination.k8s.io`, as messages of errors have it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def verb(self, method: str, *, watch: bool) -> str:
        """The verb that is authorized, empty for a method that the API does not have."""
        verb = _VERBS.get(method, "get" if method == "OPTIONS" and self.subresource == PROXY else "")
        if self.name or self.subresource:
            return verb
        return {"get": "watch" if watch else "list", "delete": "deletecollection"}.get(verb, verb)


def parse(path: str) -> Target | None:
    """None for what is not the path of a resource. `path` is percent-encoded."""
    path, rest = _split_proxied(path)
    found = _parse(path)
    return replace(found, rest=rest) if found is not None and rest else found


def _split_proxied(path: str) -> tuple[str, str]:
    """The path of a proxy subresource, and what is behind it; any other path as it is."""
    parts = path.lstrip("/").split("/")
    first = 3 if parts[0] == "apis" else 2
    at = first + (4 if parts[first : first + 1] == ["namespaces"] else 2)
    if len(parts) <= at or unquote(parts[at]) != PROXY:
        return path, ""
    return "/".join(parts[: at + 1]), "".join(f"/{part}" for part in parts[at + 1 :])


def _parse(path: str) -> Target | None:
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if not all(rest) or any("/" in part for part in rest):
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        if len(rest) == 2 or rest[2] in _OF_NAMESPACES:
            return _target(group, version, "", rest) if len(rest) < 4 else None
        namespace, rest = rest[1], rest[2:]
    return _target(group, version, namespace, rest)


def _target(group: str, version: str, namespace: str, parts: list[str]) -> Target | None:
    if len(parts) > 3:
        return None
    resource, name, subresource = (*parts, *[""] * (3 - len(parts)))
    return Target(group, version, resource, namespace, name, subresource)
