"""Kubernetes quantities: `500m`, `1Gi`, `2e3`. Exact integers inside; floats never.

Source: the grammar in apimachinery's resource.Quantity documentation.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3}|)\Z", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


@lru_cache(maxsize=4096)
def parse(text: str) -> Fraction:
    """The exact value. Raises ValueError when `text` is no quantity."""
    match = _PATTERN.match(text) if len(text) <= 64 else None
    if match is None:
        raise ValueError(f'expected a quantity such as "500m" or "1Gi", got "{text[:64]}"')
    sign, digits, suffix = match.groups()
    value = Fraction(digits)
    if suffix in _BINARY:
        value *= 1 << _BINARY[suffix]
    else:
        exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
        value *= Fraction(10) ** exponent
    return -value if sign == "-" else value


def units(text: str) -> int:
    """Whole units, rounded up: bytes of memory, a count."""
    return _ceil(parse(text))


def milli(text: str) -> int:
    """Thousandths, rounded up: millicores of CPU."""
    return _ceil(parse(text) * 1000)


def format_bytes(count: int) -> str:
    """The shortest exact binary form: 1073741824 is `1Gi`."""
    for suffix, shift in reversed(_BINARY.items()):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{suffix}"
    return str(count)


def format_milli(count: int) -> str:
    """1500 is `1500m`, 2000 is `2`."""
    return str(count // 1000) if count % 1000 == 0 else f"{count}m"


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
