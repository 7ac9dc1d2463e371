"""kubectl's JSONPath templates: `{.items[*].metadata.name}`, `{range .items[*]}...{"\\n"}{end}`, filters, slices.

Source: the JSONPath support page of the kubectl reference.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pinnace.errors import BadRequest

_STEP = re.compile(
    r"\.\.(?P<deep>[\w-]+|\*)|\.(?P<name>(?:\\.|[^.\[\]{}\s@$?()])+)|\[(?P<inside>\?\((?:[^()]|\([^()]*\))*\)|'[^']*'|\"[^\"]*\"|[^\]]*)\]"
)
_FILTER = re.compile(r"\?\(\s*@(?P<path>[^\s=!<>]*)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*\)\Z")


def evaluate(template: str, data: Any) -> str:
    """Raises BadRequest when the template is broken, or names a field that is not there."""
    if "{" not in template:
        template = "{" + (template if template.startswith(("$", ".", "[", "@")) else f".{template}") + "}"
    text, position = _block(_tokens(template), 0, data, data)
    if position >= 0:
        raise BadRequest("jsonpath: {end} without {range}")
    return text


def select(path: str, data: Any) -> list[Any]:
    """What one path finds; `.spec.nodeName`, `spec.nodeName` and `{.spec.nodeName}` are the same. Raises BadRequest."""
    bare = path.strip()
    return _select(bare[1:-1].strip() if bare.startswith("{") and bare.endswith("}") else bare, data, data)


def show(value: Any) -> str:
    """A found value as text: objects and lists as JSON."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _tokens(template: str) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    position = 0
    while position < len(template):
        start = template.find("{", position)
        if start < 0:
            out.append(("text", template[position:]))
            break
        if start > position:
            out.append(("text", template[position:start]))
        end = _close(template, start)
        out.append(("code", template[start + 1 : end].strip()))
        position = end + 1
    return out


def _close(template: str, start: int) -> int:
    quote = ""
    for index in range(start + 1, len(template)):
        char = template[index]
        if quote:
            quote = "" if char == quote and template[index - 1] != "\\" else quote
        elif char in "\"'":
            quote = char
        elif char == "}":
            return index
    raise BadRequest("jsonpath: a { is not closed")


def _block(tokens: list[tuple[str, str]], index: int, root: Any, current: Any, *, inner: bool = False) -> tuple[str, int]:
    """The text up to the matching {end} or the end; the position after it, or -1."""
    out = []
    while index < len(tokens):
        kind, body = tokens[index]
        index += 1
        if kind == "text":
            out.append(body)
        elif body == "end":
            return "".join(out), index
        elif body.startswith("range"):
            after = _skip(tokens, index)
            for item in _select(body[5:].strip(), root, current):
                out.append(_block(tokens, index, root, item, inner=True)[0])
            index = after
        elif body.startswith(("'", '"')):
            out.append(_unquote(body))
        else:
            out.append(" ".join(show(item) for item in _select(body, root, current)))
    if inner:
        raise BadRequest("jsonpath: {range} without {end}")
    return "".join(out), -1


def _skip(tokens: list[tuple[str, str]], index: int) -> int:
    depth = 1
    while index < len(tokens):
        kind, body = tokens[index]
        index += 1
        if kind == "code" and body.startswith("range"):
            depth += 1
        elif kind == "code" and body == "end":
            depth -= 1
            if not depth:
                return index
    raise BadRequest("jsonpath: {range} without {end}")


def _unquote(body: str) -> str:
    try:
        return str(json.loads('"' + body[1:-1] + '"')) if body[0] == '"' else body[1:-1]
    except ValueError:
        raise BadRequest(f"jsonpath: cannot read {body}") from None


def _select(path: str, root: Any, current: Any) -> list[Any]:
    values = [root if path.startswith("$") else current]
    rest = path.lstrip("$@")
    rest = rest if rest.startswith((".", "[")) or not rest else f".{rest}"
    if rest == ".":
        return values
    position = 0
    while position < len(rest):
        match = _STEP.match(rest, position)
        if match is None:
            raise BadRequest(f"jsonpath: cannot read {rest[position:]!r}")
        values = [found for value in values for found in _step(match, value, root)]
        position = match.end()
    return values


def _step(match: re.Match[str], value: Any, root: Any) -> list[Any]:
    if match["deep"] is not None:
        return _deep(value, match["deep"])
    if match["name"] is not None:
        return _member(value, match["name"].replace("\\.", "."))
    inside = match["inside"].strip()
    if inside.startswith("?"):
        return [item for item in _elements(value) if _holds(inside, item, root)]
    if inside[:1] in ("'", '"'):
        return _member(value, inside[1:-1])
    if inside == "*":
        return _elements(value)
    return _index(value, inside)


def _elements(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _member(value: Any, name: str) -> list[Any]:
    if name == "*":
        return _elements(value)
    if isinstance(value, dict):
        return [value[name]] if name in value else []
    return []


def _index(value: Any, inside: str) -> list[Any]:
    if not isinstance(value, list):
        return []
    try:
        if ":" in inside:
            parts = [int(part) if part else None for part in inside.split(":")]
            return value[slice(*parts)]
        return [value[int(number)] for number in inside.split(",") if -len(value) <= int(number) < len(value)]
    except (ValueError, TypeError):
        raise BadRequest(f"jsonpath: cannot read [{inside}]") from None


def _deep(value: Any, name: str) -> list[Any]:
    found = _member(value, name)
    for element in _elements(value):
        found = [*found, *_deep(element, name)]
    return found


def _holds(inside: str, item: Any, root: Any) -> bool:
    match = _FILTER.match(inside)
    if match is None:
        raise BadRequest(f"jsonpath: cannot read [{inside}]")
    found = _select("@" + match["path"], root, item)
    if match["op"] is None:
        return bool(found)
    raw = match["value"].strip()
    try:
        wanted = raw[1:-1] if raw[:1] in "\"'" else json.loads(raw)
    except ValueError:
        raise BadRequest(f"jsonpath: cannot read {raw}: texts need quotes") from None
    return any(_compare(value, match["op"], wanted) for value in found)


def _compare(value: Any, op: str, wanted: Any) -> bool:
    try:
        return bool(
            {
                "==": lambda: value == wanted,
                "!=": lambda: value != wanted,
                "<": lambda: value < wanted,
                ">": lambda: value > wanted,
                "<=": lambda: value <= wanted,
                ">=": lambda: value >= wanted,
            }[op]()
        )
    except TypeError:
        return False
