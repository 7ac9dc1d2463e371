"""Kubernetes quantities: `500m`, `1Gi`, `2e3`. Exact integers inside; floats never.

As in Kubernetes, no quantity is larger than 2^63-1 or finer than a billionth: larger ones saturate, finer ones are rounded
up, away from zero. So sums of a few fit into any integer, and thousandths saturate too.
Source: the grammar in apimachinery's resource.Quantity documentation.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,10}|)\Z", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
# The largest amount in any unit.
MAX = (1 << 63) - 1
_NANO = 10**9
# Beyond it any number of 64 digits saturates, or is less than a billionth.
MAX_EXPONENT = 100
EXPECTED = 'must be a quantity such as "500m" or "1Gi"'


@lru_cache(maxsize=4096)
def parse(text: str) -> Fraction:
    """The value, saturated at MAX and rounded to billionths. Raises ValueError when `text` is no quantity."""
    match = _PATTERN.match(text) if len(text) <= 64 else None
    if match is None:
        raise ValueError(f'expected a quantity such as "500m" or "1Gi", got "{text[:64]}"')
    sign, digits, suffix = match.groups()
    value = Fraction(digits)
    if suffix in _BINARY:
        value *= 1 << _BINARY[suffix]
    else:
        exponent = _DECIMAL[suffix] if suffix in _DECIMAL else max(-MAX_EXPONENT, min(int(suffix[1:]), MAX_EXPONENT))
        value *= Fraction(10) ** exponent
    value = min(Fraction(_ceil(value * _NANO), _NANO), Fraction(MAX))
    return -value if sign == "-" else value


@lru_cache(maxsize=4096)
def units(text: str) -> int:
    """Whole units, rounded up: bytes of memory, a count. At most MAX."""
    return _ceil(parse(text))


@lru_cache(maxsize=4096)
def milli(text: str) -> int:
    """Thousandths, rounded up: millicores of CPU. At most MAX."""
    return max(min(_ceil(parse(text) * 1000), MAX), -MAX)


def format_bytes(count: int) -> str:
    """The shortest exact binary form: 1073741824 is `1Gi`."""
    for suffix, shift in reversed(_BINARY.items()):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift}{suffix}"
    return str(count)


def format_milli(count: int) -> str:
    """1500 is `1500m`, 2000 is `2`."""
    return str(count // 1000) if count % 1000 == 0 else f"{count}m"


def format_nano(count: int) -> str:
    """Billionths in the largest unit that is exact: 1500000 is `1500u`, 2000000 is `2m`."""
    for suffix, size in (("", 10**9), ("m", 10**6), ("u", 10**3)):
        if count % size == 0:
            return f"{count // size}{suffix}"
    return f"{count}n"


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
