"""Kubernetes' functions of CEL in addition to the standard ones: lists, sets, regular expressions, URLs, addresses, quantities,
and those of `celformats`, `cellists` and `celsemver`.

A quantity, a version, a format, a URL, an address or a range is a map with one entry in a rule. Source: apiserver's
pkg/cel/library.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from controlplane.customresources import celformats, cellists, celsemver, patterns
from controlplane.customresources.cellists import identities
from pinnace import quantity

_IP, _CIDR, _QUANTITY, _URL = "kubernetes.IP", "kubernetes.CIDR", "kubernetes.Quantity", "kubernetes.URL"


def declarations() -> list[Any]:
    """Function declarations for the library."""
    from cel_expr_python import cel

    texts = cel.Type.List(cel.Type.STRING)
    kinds = {"s": cel.Type.STRING, "b": cel.Type.BOOL, "i": cel.Type.INT, "d": cel.Type.DOUBLE, "l": cel.Type.LIST, "L": texts,
             "m": cel.Type.Map(cel.Type.STRING, cel.Type.STRING), "M": cel.Type.MAP, "T": cel.Type.List(texts),
             "F": cel.Type.List(cel.Type.Map(cel.Type.STRING, cel.Type.STRING)), "*": cel.Type.DYN}  # fmt: skip
    found: dict[str, list[Any]] = {}
    for name, member, signature, implementation in _FUNCTIONS:
        result, parameters = kinds[signature[0]], [kinds[letter] for letter in signature[1:]]
        identity = f"{name}_{signature}".replace(".", "_").replace("*", "any")
        overload = cel.Overload(identity, result, parameters, member, implementation)
        found.setdefault(name, []).append(overload)
    return [cel.FunctionDecl(name, overloads) for name, overloads in found.items()]


def _find(text: str, pattern: str) -> str:
    return next(iter(patterns.found(pattern, text, 1)), "")


def _part(kind: str, value: Any) -> Any:
    if not isinstance(value, dict) or kind not in value:
        raise ValueError(f"no such overload: not a {kind}")
    return value[kind]


def _ip(text: str) -> dict[str, str]:
    address = ipaddress.ip_address(text)
    if "%" in text or getattr(address, "ipv4_mapped", None) is not None:
        raise ValueError("IP Address with a zone, or IPv4-mapped, is not allowed")
    return {_IP: str(address)}


def _address(value: Any) -> Any:
    return ipaddress.ip_address(_part(_IP, value))


def _cidr(text: str) -> dict[str, str]:
    return {_CIDR: str(ipaddress.ip_interface(text) if "/" in text else _fail("invalid CIDR"))}


def _network(value: Any) -> Any:
    return ipaddress.ip_network(_part(_CIDR, value), strict=False)


def _fail(text: str) -> str:
    raise ValueError(text)


def _holds_cidr(value: Any, other: Any) -> bool:
    inner = ipaddress.ip_network(other if isinstance(other, str) else _part(_CIDR, other), strict=False)
    outer = _network(value)
    return bool(inner.version == outer.version and inner.subnet_of(outer))


def _holds_ip(value: Any, other: Any) -> bool:
    return ipaddress.ip_address(other if isinstance(other, str) else _part(_IP, other)) in _network(value)


def _quantity(text: str) -> dict[str, str]:
    quantity.parse(text)
    return {_QUANTITY: text}


def _amount(value: Any) -> Fraction:
    return Fraction(quantity.parse(_part(_QUANTITY, value)))


def _compared(one: Any, other: Any) -> int:
    """Of two quantities or two versions."""
    order: Callable[[Any], Any] = celsemver.order if isinstance(one, dict) and celsemver.KIND in one else _amount
    before, after = order(one), order(other)
    return int(before > after) - int(before < after)


def _part_of_version(at: int, value: Any) -> int:
    return celsemver.part(value, at)


def _of(amount: Fraction) -> dict[str, str]:
    return {_QUANTITY: str(int(amount)) if amount.denominator == 1 else f"{-(-amount * 10**9 // 1)}n"}


def _plus(sign: int, value: Any, other: Any) -> dict[str, str]:
    more = Fraction(other) if isinstance(other, int) else _amount(other)
    return _of(_amount(value) + sign * more)


def _integer(value: Any) -> int:
    amount = _amount(value)
    return int(amount) if amount.denominator == 1 else int(_fail("cannot convert value to integer"))


def _url(text: str) -> dict[str, str]:
    parts = urlsplit(text)
    return {_URL: text} if parts.scheme or text.startswith("/") else {_URL: _fail(f"URL parse error: {text[:80]}")}


def _accepts(make: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            make(text)
        except ValueError:
            return False
        return True

    return check


def _of_url(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: read(urlsplit(_part(_URL, value)))


def _host(parts: Any) -> str:
    return str(parts.netloc.rpartition("@")[2])


_NUMERIC: list[tuple[str, bool, str, Callable[..., Any]]] = [
    ("quantity", False, "ms", _quantity), ("isQuantity", False, "bs", _accepts(_quantity)),
    ("isGreaterThan", True, "bmm", lambda one, other: _compared(one, other) > 0),
    ("isLessThan", True, "bmm", lambda one, other: _compared(one, other) < 0), ("compareTo", True, "imm", _compared),
    ("semver", False, "ms", celsemver.of_text), ("semver", False, "msb", celsemver.of_text),
    ("isSemver", False, "bs", celsemver.is_semver), ("isSemver", False, "bsb", celsemver.is_semver),
    *((name, True, "im", partial(_part_of_version, at)) for at, name in enumerate(("major", "minor", "patch"))),
    ("sign", True, "im", lambda one: (_amount(one) > 0) - (_amount(one) < 0)),
    ("asInteger", True, "im", _integer), ("asApproximateFloat", True, "dm", lambda one: float(_amount(one))),
    ("isInteger", True, "bm", lambda one: _amount(one).denominator == 1),
    *((name, True, letters, partial(_plus, sign)) for name, sign in (("add", 1), ("sub", -1)) for letters in ("mmm", "mmi")),
]  # fmt: skip
_ADDRESSES: list[tuple[str, bool, str, Callable[..., Any]]] = [
    ("ip", False, "ms", _ip), ("isIP", False, "bs", _accepts(_ip)),
    ("ip.isCanonical", False, "bs", lambda text: str(ipaddress.ip_address(text)) == text),
    ("family", True, "im", lambda value: _address(value).version),
    ("isUnspecified", True, "bm", lambda value: _address(value).is_unspecified),
    ("isLoopback", True, "bm", lambda value: _address(value).is_loopback),
    ("isLinkLocalMulticast", True, "bm", lambda value: _address(value).is_multicast and _address(value).is_link_local),
    ("isLinkLocalUnicast", True, "bm", lambda value: _address(value).is_link_local),
    ("isGlobalUnicast", True, "bm", lambda value: not (_address(value).is_multicast or _address(value).is_loopback
                                                       or _address(value).is_unspecified or _address(value).is_link_local)),
    ("cidr", False, "ms", _cidr), ("isCIDR", False, "bs", _accepts(_cidr)),
    ("containsIP", True, "bmm", _holds_ip), ("containsIP", True, "bms", _holds_ip),
    ("containsCIDR", True, "bmm", _holds_cidr), ("containsCIDR", True, "bms", _holds_cidr),
    ("ip", True, "mm", lambda value: {_IP: str(ipaddress.ip_interface(_part(_CIDR, value)).ip)}),
    ("masked", True, "mm", lambda value: {_CIDR: str(_network(value))}),
    ("prefixLength", True, "im", lambda value: _network(value).prefixlen),
]  # fmt: skip
_FUNCTIONS: list[tuple[str, bool, str, Callable[..., Any]]] = [
    *_NUMERIC, *_ADDRESSES, *celformats.FUNCTIONS, *cellists.FUNCTIONS,
    ("find", True, "sss", _find),
    ("findAll", True, "Lss", lambda text, pattern: patterns.found(pattern, text, -1)),
    ("findAll", True, "Lssi", lambda text, pattern, most: patterns.found(pattern, text, most)),
    ("isSorted", True, "bl", lambda items: all(one <= other for one, other in pairwise(items))),
    ("sum", True, "*l", sum), ("min", True, "*l", min), ("max", True, "*l", max),
    ("sets.contains", False, "bll", lambda one, other: identities(other) <= identities(one)),
    ("sets.intersects", False, "bll", lambda one, other: not identities(one).isdisjoint(identities(other))),
    ("sets.equivalent", False, "bll", lambda one, other: identities(one) == identities(other)),
    ("url", False, "ms", _url), ("isURL", False, "bs", _accepts(_url)),
    ("getScheme", True, "sm", _of_url(lambda parts: parts.scheme)), ("getHost", True, "sm", _of_url(_host)),
    ("getHostname", True, "sm", _of_url(lambda parts: parts.hostname or "")),
    ("getPort", True, "sm", _of_url(lambda parts: "" if parts.port is None else str(parts.port))),
    ("getEscapedPath", True, "sm", _of_url(lambda parts: parts.path)),
    ("getQuery", True, "*m", _of_url(lambda parts: parse_qs(parts.query, keep_blank_values=True))),
]  # fmt: skip
# Those that are given lists, maps or values of any type.
OF_CONTAINERS = frozenset(name for name, _, signature, _ in _FUNCTIONS if set(signature[1:]) & set("lLmMT*"))
