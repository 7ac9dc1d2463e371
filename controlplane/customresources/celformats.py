"""The format library of rules: `format.dns1123Label().validate(text)` and `format.named(name)`.

An optional value is a list of at most one here; `celsyntax` makes the one of the other. Source: apiserver's
pkg/cel/library/format.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from controlplane.customresources import valueformats
from pinnace import formats

KIND = "kubernetes.NamedFormat"
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)


def _dns_1035(text: str) -> list[str]:
    if len(text) <= 63 and _DNS_1035.fullmatch(text):
        return []
    return ["must have at most 63 lower case alphanumeric characters or '-', begin with a letter and end with no '-'"]


def _fits(name: str, text: str) -> list[str]:
    return [] if valueformats.fits(name, text) else [f"invalid {name}"]


_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": formats.dns_label, "dns1123LabelPrefix": formats.prefix_of(formats.dns_label),
    "dns1123Subdomain": formats.dns_subdomain, "dns1123SubdomainPrefix": formats.prefix_of(formats.dns_subdomain),
    "dns1035Label": _dns_1035, "dns1035LabelPrefix": formats.prefix_of(_dns_1035),
    "qualifiedName": formats.qualified_name, "labelValue": formats.label_value,
    **{name: partial(_fits, known) for name, known in (("uri", "uri"), ("uuid", "uuid"), ("byte", "byte"), ("date", "date"),
                                                       ("datetime", "date-time"))},
}  # fmt: skip


def _named(name: str) -> list[dict[str, str]]:
    return [{KIND: name}] if name in _FORMATS else []


def _validate(value: Any, text: str) -> list[list[str]]:
    check = _FORMATS.get(value.get(KIND, "")) if isinstance(value, dict) else None
    if check is None:
        raise ValueError("no such overload: not a Format")
    errors = check(text)
    return [errors] if errors else []


def _maker(name: str) -> Callable[[], dict[str, str]]:
    return lambda: {KIND: name}


# `T`: a list of lists of texts; `F`: a list of formats.
FUNCTIONS: list[tuple[str, bool, str, Callable[..., Any]]] = [
    *((f"format.{name}", False, "m", _maker(name)) for name in _FORMATS),
    ("format._named", False, "Fs", _named), ("_validate", True, "Tms", _validate),
]  # fmt: skip
