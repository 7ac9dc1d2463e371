"""What a URL path means: an object, a collection, a subresource; or a path that is no resource.

Source: RequestInfo of k8s.io/apiserver (pkg/endpoints/request), and the paths of the Kubernetes API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

# Second parts after a namespace's name that are its subresources, not resources in it.
_OF_NAMESPACES = ("status", "finalize")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}


@dataclass(frozen=True, slots=True)
class Target:
    """`group` is empty for core kinds; `resource` is the plural; `rest` is the path behind a proxy subresource."""

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
        verb = _VERBS.get(method, "")
        if self.name or self.subresource:
            return verb
        return {"get": "watch" if watch else "list", "delete": "deletecollection"}.get(verb, verb)


def parse(path: str) -> Target | None:
    """None for what is not the path of a resource. `path` is percent-encoded."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if not all(rest[:4]) or any("/" in part for part in rest[:4]):
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        if len(rest) == 2 or rest[2] in _OF_NAMESPACES:
            return _target(group, version, "", rest) if len(rest) < 4 else None
        namespace, rest = rest[1], rest[2:]
    return _target(group, version, namespace, rest)


def _target(group: str, version: str, namespace: str, parts: list[str]) -> Target | None:
    resource, name, subresource, *rest = (*parts, *[""] * (3 - len(parts))) if len(parts) < 3 else parts
    if rest and subresource != "proxy":
        return None
    if subresource == "proxy":
        return Target(group, version, resource, namespace, name, subresource, "/".join(rest))
    return Target(group, version, resource, namespace, name, subresource)
