"""Names of other objects and of controllers, as fields of several kinds have them.

Source: apimachinery's util/validation (IsDomainPrefixedPath), networking's validateIngressTypedLocalObjectReference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.errors import Cause


def domain_prefixed_path(path: str, value: str) -> Iterator[Cause]:
    """Errors of the name of a controller, such as example.com/controller."""
    if not value:
        yield fielderrors.required(path)
        return
    domain, _, rest = value.partition("/")
    if not domain or not rest:
        yield fielderrors.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    yield from meta.each(path, domain, formats.dns_subdomain)
    yield from meta.each(path, rest, formats.http_path)


def local_reference(path: str, item: Any) -> Iterator[Cause]:
    """Errors of the group, kind and name of an object."""
    if item.HasField("apiGroup"):
        yield from meta.each(f"{path}.apiGroup", item.apiGroup, formats.dns_subdomain)
    for name in ("kind", "name"):
        value = getattr(item, name)
        if not value:
            yield fielderrors.required(f"{path}.{name}")
        else:
            yield from meta.each(f"{path}.{name}", value, formats.path_segment)
