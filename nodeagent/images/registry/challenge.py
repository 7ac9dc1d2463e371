"""What a registry asks for when it refuses: the WWW-Authenticate header. Pure. Source: RFC 9110, 11.6.1; RFC 6750."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z]+)\s+(?=[A-Za-z_]+\s*=)")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
MAX_HEADER = 4096


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` is in lower case, such as `bearer` or `basic`."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse(header: str) -> list[Challenge]:
    """The challenges of a header, as far as it can be read."""
    found: list[Challenge] = []
    at = 0
    header = header[:MAX_HEADER]
    while at < len(header):
        if scheme := _SCHEME.match(header, at):
            found.append(Challenge(scheme[1].lower()))
            at = scheme.end()
        elif found and (item := _PARAMETER.match(header, at)):
            value = item[3] if item[2] is None else re.sub(r"\\(.)", r"\1", item[2])
            found[-1].parameters[item[1].lower()] = value
            at = item.end()
        else:
            break
    return found
