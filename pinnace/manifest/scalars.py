"""YAML scalars to JSON values by kubectl's rules, which are neither YAML 1.1's nor 1.2's.

Source: resolve.go of go.yaml.in/yaml/v2 (plain scalars), convertToJSONableObject of sigs.k8s.io/yaml (keys), and
strconv's ParseInt with base 0, ParseFloat and FormatFloat.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from typing import Any

STR, INT, FLOAT, BOOL, NULL = "!!str", "!!int", "!!float", "!!bool", "!!null"
TIMESTAMP, BINARY = "!!timestamp", "!!binary"
CORE = "tag:yaml.org,2002:"
_RESOLVABLE = (STR, INT, FLOAT, BOOL, NULL, TIMESTAMP)
_LOW, _HIGH = -(1 << 63), (1 << 64) - 1
# The largest float that Go's JSON writes without an exponent.
_PLAIN_FLOAT = 1e21
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z", re.ASCII)
_OCTAL = re.compile(r"([-+]?)0[oO]?([0-7]+)\Z", re.ASCII)
_PREFIXED = re.compile(r"[-+]?0([xX][0-9a-fA-F]+|[bB][01]+)\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z", re.ASCII)
_FRACTION = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?\Z", re.ASCII)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})?)?\Z", re.ASCII
)
# Go's base64 skips these.
_BREAKS = dict.fromkeys(map(ord, "\r\n"))
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
for _true, _false in (("y", "n"), ("yes", "no"), ("true", "false"), ("on", "off")):
    for _word, _truth in ((_true, True), (_false, False)):
        _WORDS |= {_word: _truth, _word.capitalize(): _truth, _word.upper(): _truth}
for _sign in ("", "+", "-"):
    _WORDS |= {f"{_sign}.{_word}": float(_sign + "inf") for _word in ("inf", "Inf", "INF")}
_WORDS |= {f".{_word}": math.nan for _word in ("nan", "NaN", "NAN")}


class ScalarError(ValueError):
    """A scalar that has no JSON value; its text says why."""


def resolve(text: str) -> Any:
    """The value of a plain scalar without a tag: None, a bool, int, float or str.

    `in_json` and `key` tell what JSON makes of it.
    """
    if not text or text[0] not in "0123456789+-.yYnNtTfFoO~":
        return text or None
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        return float(text) if _FRACTION.match(text) else text
    return _number(text) if text[0] in "0123456789+-" else text


def _number(text: str) -> Any:
    """An int of 64 bits, a float, or `text` itself. Underscores may be anywhere."""
    plain = text.replace("_", "")
    found = _integer(plain)
    if found is not None and _LOW <= found <= _HIGH:
        return found
    if not _FLOAT.match(plain):
        return text
    value = float(plain)
    return value if math.isfinite(value) else text


def _integer(plain: str) -> int | None:
    if _DECIMAL.match(plain):
        # Twenty digits hold 64 bits; Python refuses to read some thousands.
        return int(plain) if len(plain) <= 21 else None
    octal = _OCTAL.match(plain)
    if octal:
        return int(octal[1] + octal[2], 8)
    return int(plain, 0) if _PREFIXED.match(plain) else None


def in_json(value: Any) -> Any:
    """A resolved scalar as Go's JSON writes it: `1.0` and `1e3` are 1 and 1000. Raises ScalarError for infinities and NaN."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise ScalarError(f"{value} is not a JSON number (quote it for a string)")
    return int(value) if value.is_integer() and abs(value) < _PLAIN_FLOAT else value


def tagged(tag: str, text: str) -> Any:
    """The value of a scalar with a tag of YAML's core, such as `tag:yaml.org,2002:int`. Raises ScalarError."""
    short = "!!" + tag.removeprefix(CORE)
    if short == BINARY:
        return _binary(text)
    if short not in _RESOLVABLE or short == STR:
        return text
    value = resolve(text)
    found = _tag_of(value, text)
    if found != short and not (short == FLOAT and type(value) is int and value < 1 << 63):
        raise ScalarError(f"cannot decode {found} `{text[:80]}` as a {short}")
    return float(value) if short == FLOAT else value


def _tag_of(value: Any, text: str) -> str:
    if isinstance(value, str):
        return TIMESTAMP if _DATE.match(text) else STR
    return {type(None): NULL, bool: BOOL, int: INT}.get(type(value), FLOAT)


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text.translate(_BREAKS), validate=True).decode()
    except UnicodeDecodeError:
        raise ScalarError("!!binary value is not UTF-8: write it as base64 text, without the tag") from None
    except ValueError:
        raise ScalarError("!!binary value contains invalid base64 data") from None


def key(value: Any) -> str:
    """The JSON key of a resolved scalar. Raises ScalarError for null and for what exceeds 63 bits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value < 1 << 63:
        return str(value)
    if isinstance(value, float):
        return _short_float(value)
    raise ScalarError("a key must be a string (put it in quotes)")


def _short_float(value: float) -> str:
    """strconv.FormatFloat(value, 'g', -1, 32): the shortest text that gives the same 32-bit float."""
    try:
        wanted = struct.pack("<f", value)
    except OverflowError:
        value = math.copysign(math.inf, value)
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    (single,) = struct.unpack("<f", wanted)
    digits = next(n for n in range(9) if struct.pack("<f", float(f"{single:.{n}e}")) == wanted)
    mantissa, _, power = f"{single:.{digits}e}".partition("e")
    exponent = int(power)
    if exponent < -4 or exponent >= 6:
        return f"{mantissa}e{exponent:+03d}"
    return f"{single:.{max(digits - exponent, 0)}f}"
