"""What a registry asks for when it refuses: the WWW-Authenticate header, or several. Pure. Source: RFC 9110, 11.6.1; RFC 6750.

A challenge is a scheme, then a token or parameters. A comma separates parameters as well as challenges: a word is a parameter's
name when an equals sign follows it, and a scheme otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SEPARATOR = re.compile(r"[\s,]*")
_PARAMETER = re.compile(rf'({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)|(?=[\s,]|\Z))')
_SCHEME = re.compile(rf"({_WORD})(?=[\s,]|\Z)")
# Of schemes that we do not answer (Negotiate): base64, ended by a comma.
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|\Z)")
MAX_HEADER = 8192
MAX_CHALLENGES = 16


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` is in lower case, such as `bearer` or `basic`."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse(header: str) -> list[Challenge]:
    """The challenges of a header, or of several that are joined by commas, as far as they can be read."""
    found: list[Challenge] = []
    header = header[:MAX_HEADER]
    at = _end(_SEPARATOR.match(header), 0)
    while at < len(header) and len(found) <= MAX_CHALLENGES:
        if found and (item := _PARAMETER.match(header, at)):
            value = re.sub(r"\\(.)", r"\1", item[2]) if item[2] is not None else item[3] or ""
            found[-1].parameters.setdefault(item[1].lower(), value)
            at = item.end()
        elif scheme := _SCHEME.match(header, at):
            found.append(Challenge(scheme[1].lower()))
            at = _end(_TOKEN68.match(header, scheme.end()), scheme.end())
        else:
            break
        at = _end(_SEPARATOR.match(header, at), at)
    return found


def _end(match: re.Match[str] | None, otherwise: int) -> int:
    return match.end() if match is not None else otherwise
