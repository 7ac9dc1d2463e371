"""The JSON of images, checked once when it comes: whatever reads a value later finds text that can be written, a bounded number
of values, and no nesting that a recursive function would end at. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from pinnace.oci import BadImage

MAX_JSON = 4 << 20
# Values cost up to forty times their bytes in memory; an index of two hundred platforms has a few thousand.
MAX_VALUES = 200_000
MAX_DEPTH = 32
# JSON can name half of a surrogate pair, which is no character: no UTF-8 has it, and no file, message or environment.
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


def document(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object. Raises BadImage, which names the place of what is wrong."""
    if len(data) > MAX_JSON:
        raise BadImage(f"{name} is larger than {MAX_JSON >> 20} MiB")
    try:
        # Strictly: json.loads would guess among encodings, and let surrogates pass.
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadImage(f"{name} is not JSON in UTF-8 (byte {error.start})") from None
    if text.count("[") + text.count("{") + text.count(",") > MAX_VALUES:
        raise BadImage(f"{name} has more than {MAX_VALUES} values")
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadImage(f"{name} is not JSON") from None
    if not isinstance(value, dict):
        raise BadImage(f"{name} is not a JSON object")
    _check_depth(value, name)
    if _ESCAPED_SURROGATE.search(text):
        _check_text(value, name)
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _check_depth(value: Any, name: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise BadImage(f"{name} is nested more than {MAX_DEPTH} deep")


def _check_text(value: Any, name: str) -> None:
    """Every string, keys too."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, item = waiting.pop()
        if isinstance(item, str) and not _is_unicode(item):
            raise BadImage(f"{name}: {place or 'it'} is not Unicode text: {ascii(item)[:100]}")
        if isinstance(item, dict):
            for key in item:
                if not _is_unicode(key):
                    raise BadImage(f"{name}: a key of {place or 'the object'} is not Unicode text: {ascii(key)[:100]}")
            waiting += [(f"{place}.{key}" if place else key, inner) for key, inner in item.items()]
        elif isinstance(item, list):
            waiting += [(f"{place}[{at}]", inner) for at, inner in enumerate(item)]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def entries(value: dict[str, Any], key: str, name: str) -> list[Any]:
    """A list in a document, empty where it is not. Raises BadImage."""
    found = value.get(key) or []
    if not isinstance(found, list):
        raise BadImage(f"{name}: {key} is not a list")
    return found


def check_strings(value: dict[str, Any], key: str, name: str) -> None:
    """A list of strings that can be arguments and variables of a process, or nothing. Raises BadImage."""
    for at, item in enumerate(entries(value, key, name)):
        if not isinstance(item, str) or "\0" in item:
            raise BadImage(f"{name}: {key} is not a list of strings without NUL: [{at}] is {_shown(item)}")


def check_string(value: dict[str, Any], key: str, name: str, most: int) -> None:
    """A string of at most so many characters, or nothing. Raises BadImage."""
    found = value.get(key)
    if found is not None and (not isinstance(found, str) or "\0" in found or len(found) > most):
        raise BadImage(f"{name}: {key} is not a string without NUL of at most {most} characters: {_shown(found)}")


def check_map(value: dict[str, Any], key: str, name: str, *, of_strings: bool) -> None:
    """An object, of strings or (as Go writes a set) of empty objects, or nothing. Raises BadImage."""
    found = value.get(key)
    if found is None:
        return
    if not isinstance(found, dict):
        raise BadImage(f"{name}: {key} is not an object: {_shown(found)}")
    for inner, item in found.items():
        if "\0" in inner or not (isinstance(item, str) if of_strings else item is None or isinstance(item, dict)):
            raise BadImage(f"{name}: {key}[{_shown(inner)}] is not {'a string' if of_strings else 'an object'}")


def _shown(value: Any) -> str:
    return ascii(value)[:80]
