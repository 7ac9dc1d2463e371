"""What `kctl wait --for` can wait for, as tests of an object in JSON form.

Source: kubectl's pkg/cmd/wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pinnace import jsonpath
from pinnace.errors import BadRequest
from pinnace.jsonpath import gotext, scanning

Test = Callable[[dict[str, Any]], bool]
CREATE, DELETE = "create", "delete"
HELP = "create, delete, condition=NAME[=VALUE] or jsonpath='{EXPRESSION}'[=VALUE]; several must all hold (default VALUE: true)"


def is_word(wanted: str, word: str) -> bool:
    return wanted.lower() == word


def parse(wanted: str) -> Test:
    """The test of a condition, which may raise BadRequest for an object that it does not fit. Raises BadRequest.

    What `create` waits for holds for every object, what `delete` waits for for none."""
    word, _, rest = wanted.partition("=")
    if wanted.lower() in (CREATE, DELETE):
        return lambda document: is_word(wanted, CREATE)
    if word == "condition" and rest:
        name, _, value = rest.partition("=")
        return lambda document: _has_condition(document, name, value or "true")
    if word == "jsonpath":
        return _jsonpath(rest)
    raise BadRequest(f'unrecognized condition: "{wanted}" (--for takes {HELP})')


def _has_condition(document: dict[str, Any], name: str, value: str) -> bool:
    """Names and values without regard to case; a condition of an older generation does not count."""
    status = document.get("status") or {}
    for condition in status.get("conditions") or []:
        if str(condition.get("type", "")).casefold() != name.casefold():
            continue
        observed = condition.get("observedGeneration", status.get("observedGeneration"))
        if observed is not None and int(observed) < int(document["metadata"].get("generation", 0)):
            return False
        return str(condition.get("status", "")).casefold() == value.casefold()
    return False


def _jsonpath(text: str) -> Test:
    """`{.status.phase}=Running`, or without a value: that the field is there."""
    cut = next((at for at, char, depth in scanning.scan(text, 0) if char == "=" and not depth), None)
    expression, value = (text, None) if cut is None else (text[:cut], text[cut + 1 :].strip("'\""))
    if not expression.strip():
        raise BadRequest("jsonpath expression cannot be empty")
    if value is not None and (not value or value.startswith("=")):
        raise BadRequest(
            "jsonpath wait has to have a value after one equal sign, like --for=jsonpath='{.status.phase}'=Running"
        )
    template = jsonpath.Template(jsonpath.relaxed(expression))
    return lambda document: _matches(template.first(document), value)


def _matches(found: list[Any], value: str | None) -> bool:
    if len(found) > 1:
        raise BadRequest("given jsonpath expression matches more than one value")
    if not found or value is None:
        return bool(found)
    if isinstance(found[0], (dict, list)):
        raise BadRequest("jsonpath leads to a nested object or list which is not supported")
    return gotext.plain(found[0]).strip() == value.strip()
