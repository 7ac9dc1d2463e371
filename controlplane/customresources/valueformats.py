"""The formats that a schema may give to a value; a format that Kubernetes does not know is ignored, as there.

Source: kube-openapi's pkg/validation/strfmt and apiextensions' supported formats.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pinnace import formats

# Longer text has none of these formats but byte, password and uri.
MAX_TEXT = 4_096
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_HEX = "[0-9a-f]"
_UUID = rf"{_HEX}{{8}}-?{_HEX}{{4}}-?%s{_HEX}{{3}}-?%s{_HEX}{{3}}-?{_HEX}{{12}}"
_HOST = re.compile(r"(?!.{254})([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*\.?", re.I | re.A)
_DURATION = re.compile(r"[+-]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_PROSE_DURATION = re.compile(
    r"\d+\s*(ns|nano|us|µs|micro|ms|milli|s|sec|m|min|h|hr|hour|d|day|w|week)(s|ec|ond|onds|ute|utes)?", re.A
)
_COLOUR = r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"
_EMAIL = re.compile(r"[^@\s<>()\[\],;:\"]+@[^@\s<>()\[\],;:\"]+")
_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|[numkKMGTPE]|[KMGTPE]i)?", re.ASCII)


def date_time(text: str) -> bool:
    """RFC 3339 with an offset."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return False
    day, time, _, offset = found.groups()
    try:
        datetime.datetime.fromisoformat(f"{day}T{time[:6]}{min(int(time[6:]), 59):02}")
    except ValueError:
        return False
    return time[6:] <= "60" and (len(offset) == 1 or (offset[1:3] < "24" and offset[4:] < "60"))


def date(text: str) -> bool:
    """A full-date of RFC 3339."""
    try:
        return len(text) == 10 and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def _byte(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True)) or not text
    except (binascii.Error, ValueError):
        return False


def _uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return text.isprintable() and " " not in text and bool(parts.scheme or text.startswith("/"))


def _ip(version: int | None) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return "%" not in text and ipaddress.ip_address(text).version in (version or 4, version or 6)
        except ValueError:
            return False

    return check


def _mac(text: str) -> bool:
    return any(
        re.fullmatch(rf"{unit}({separator}{unit})+", text) and len(text.replace(separator.strip("\\"), "")) in (12, 16, 40)
        for unit, separator in (("[0-9A-Fa-f]{2}", ":"), ("[0-9A-Fa-f]{2}", "-"), ("[0-9A-Fa-f]{4}", r"\."))
    )


def _syntax(pattern: str, flags: int = re.ASCII) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.fullmatch(text) is not None


def _uuid(version: str) -> Callable[[str], bool]:
    variant = "[89ab]" if version in "45" and version else _HEX
    return _syntax(_UUID % (version or _HEX, variant), re.ASCII | re.IGNORECASE)


def _label(text: str) -> bool:
    return not formats.dns_label(text)


TEXTS: dict[str, Callable[[str], bool]] = {
    "date-time": date_time, "datetime": date_time, "date": date, "byte": _byte, "password": lambda text: True, "uri": _uri,
    "ipv4": _ip(4), "ipv6": _ip(6), "ip": _ip(None), "cidr": lambda text: not formats.cidr(text), "mac": _mac,
    "uuid": _uuid(""), "uuid3": _uuid("3"), "uuid4": _uuid("4"), "uuid5": _uuid("5"),
    "duration": lambda text: bool(_DURATION.fullmatch(text) or _PROSE_DURATION.fullmatch(text)),
    "hostname": lambda text: _HOST.fullmatch(text) is not None, "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "hexcolor": _syntax("#?([0-9a-f]{3}|[0-9a-f]{6})", re.I | re.A), "rgbcolor": _syntax(_COLOUR),
    "creditcard": _syntax(r"\d{13,19}"), "isbn": _syntax(r"(97[89])?[- ]?(\d[- ]?){9}[\dXx]"),
    "isbn10": _syntax(r"(\d[- ]?){9}[\dXx]"), "isbn13": _syntax(r"97[89][- ]?(\d[- ]?){9}\d"),
    "ssn": _syntax(r"\d{3}[- ]?\d{2}[- ]?\d{4}"), "bsonobjectid": _syntax("[0-9a-f]{24}", re.I | re.A),
    "k8s-short-name": _label, "k8s-long-name": lambda text: not formats.dns_subdomain(text),
    "quantity": lambda text: _QUANTITY.fullmatch(text) is not None,
}  # fmt: skip
_LONG = ("byte", "password", "uri")
_RANGES = {"int32": range(-(1 << 31), 1 << 31), "int64": formats.INT64}


def fits(name: str, value: Any) -> bool:
    """Whether a value has a format; true for an unknown format and for a value of a type that the format is not about."""
    if isinstance(value, str):
        check = TEXTS.get(name)
        return check is None or (check(value) if len(value) <= MAX_TEXT or name in _LONG else False)
    if type(value) is int and name in _RANGES:
        return value in _RANGES[name]
    return True
