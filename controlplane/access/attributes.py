"""Who wants to do what to which resource: all that an authorizer sees of a request, whichever API it came by.

Source: apiserver's authorizer.Attributes, and the texts of its Forbidden errors (responsewriters/errors.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.access.identity import Identity
from pinnace import kinds, selectors
from pinnace.errors import BadRequest, Forbidden
from pinnace.fielderrors import quoted
from pinnace.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """A request on a resource, or with a `path` on something that is no resource, such as /healthz.

    `namespace` is empty for cluster-wide resources and for all namespaces, `name` for a collection and for create."""

    user: str
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def identity(self) -> Identity:
        """The user who asks."""
        return Identity(self.user, self.groups, extra=self.extra)

    @property
    def combined(self) -> str:
        """`pods`, or `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def on(
    identity: Identity, verb: str, kind: Kind, *, namespace: str = "", name: str = "", subresource: str = "", within: str = ""
) -> Attributes:
    """A request on objects of a kind. A namespace is in itself: who may read within it may read it. `within`: the namespace
    in which a cluster-wide object is used."""
    where = namespace if kind.namespaced else name if kind is kinds.NAMESPACE else within
    return Attributes(
        user=identity.user, groups=identity.groups, extra=identity.extra, verb=verb, group=kind.group, version=kind.version,
        resource=kind.plural, subresource=subresource, namespace=where, name=name,
    )  # fmt: skip


def selected_name(fields: str) -> str:
    """The name to which a field selector binds a list or a watch, so that a role may allow it by resourceNames; or nothing."""
    try:
        names = {found.value for found in selectors.split_fields(fields) if found.path == "metadata.name" and found.wanted}
    except BadRequest:
        # Whoever may list everything is told what is wrong with it.
        return ""
    name = names.pop() if len(names) == 1 else ""
    return "" if name in (".", "..") or "/" in name or "%" in name else name


def at(identity: Identity, verb: str, path: str) -> Attributes:
    """A request on a path outside of resources; `verb` is the HTTP method in lower case."""
    return Attributes(user=identity.user, groups=identity.groups, extra=identity.extra, verb=verb, path=path)


def forbidden(request: Attributes, reason: str = "") -> Forbidden:
    """The error of a request that no authorizer allows, in kube-apiserver's words."""
    text = _cannot(request) + (f": {reason}" if reason else "")
    if not request.resource:
        return Forbidden(f"forbidden: {text}")
    kind = f"{request.resource}.{request.group}" if request.group else request.resource
    subject = f"{kind} {quoted(request.name)}" if request.name else kind
    return Forbidden(f"{subject} is forbidden: {text}", kind=kind, name=request.name)


def _cannot(request: Attributes) -> str:
    user = f"User {quoted(request.user)} cannot {request.verb}"
    if not request.resource:
        return f"{user} path {quoted(request.path)}"
    scope = f"in the namespace {quoted(request.namespace)}" if request.namespace else "at the cluster scope"
    return f"{user} resource {quoted(request.combined)} in API group {quoted(request.group)} {scope}"
