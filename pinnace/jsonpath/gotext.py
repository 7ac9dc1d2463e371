"""Values as Go's fmt and encoding/json write them, so that scripts read the same from kctl as from kubectl.

Source: the documentation of fmt (`%v`) and of encoding/json; strconv.FormatFloat.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def printed(value: Any) -> str:
    """A value in the output of `-o jsonpath`: objects and lists as JSON, null as `null`."""
    if isinstance(value, (dict, list)):
        return compact(value)
    return "null" if value is None else plain(value)


def plain(value: Any) -> str:
    """`%v`: `map[a:1 b:2]`, `[1 2]`, `<nil>`, `true`, `5e+10`."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case dict():
            return "map[" + " ".join(f"{key}:{plain(value[key])}" for key in sorted(value)) + "]"
        case list():
            return "[" + " ".join(plain(item) for item in value) + "]"
    return str(value)


def compact(value: Any) -> str:
    """JSON on one line, keys sorted, `<`, `>` and `&` escaped."""
    return _dump(value, None, (",", ":"))


def indented(value: Any) -> str:
    """JSON of several lines, four spaces a level."""
    return _dump(value, 4, (",", ": "))


def _dump(value: Any, indent: int | None, separators: tuple[str, str]) -> str:
    text = json.dumps(_numbers(value), indent=indent, separators=separators, sort_keys=True, ensure_ascii=False)
    return text.translate(_ESCAPES)


def _numbers(value: Any) -> Any:
    """Whole floats as integers below 1e21, as encoding/json writes them."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else value


def _float(value: float) -> str:
    """`%g` with the fewest digits that identify the number; an exponent below 1e-4 and from 1e6 on."""
    number = Decimal(repr(value)).normalize()
    sign, digits, _ = number.as_tuple()
    exponent = number.adjusted() if value else 0
    if -5 < exponent < 6:
        return f"{number:f}"
    rest = "".join(map(str, digits[1:]))
    return f"{'-' * sign}{digits[0]}{'.' * bool(rest)}{rest}e{exponent:+03d}"
