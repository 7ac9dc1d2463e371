"""Environment variables: from words, standard input, config maps and secrets, into containers; and their listing.

Source: kubectl's pkg/cmd/set/set_env.go and pkg/cmd/set/env.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cli.complaints import report
from pinnace import formats, kinds
from pinnace.errors import BadRequest, NotFound

Variable = dict[str, Any]
_NO_LETTER = re.compile(r"[^a-zA-Z0-9_]")
_REFERENCES = (("secretKeyRef", "secret"), ("configMapKeyRef", "configmap"))


@dataclass(slots=True)
class Changes:
    """Variables to set, in order, and names to remove."""

    put: list[Variable]
    remove: tuple[str, ...]


def parse(words: list[str]) -> Changes:
    """`KEY=VALUE`, `KEY-`, and `-` for lines of standard input. Raises BadRequest."""
    put: list[Variable] = []
    remove: list[str] = []
    for word in words:
        name, sign, value = word.partition("=")
        if word == "-":
            put += _lines(sys.stdin)
        elif sign:
            if detail := "; ".join(formats.plain_env_name(name)):
                raise BadRequest(f'"{name[:80]}" is not a valid key name: {detail}')
            put.append({"name": name, "value": value})
        elif word.endswith("-"):
            remove.append(word[:-1])
        else:
            raise BadRequest(f"unknown environment variable: {word[:80]}")
    if {item["name"] for item in put} & set(remove):
        raise BadRequest("can not both modify and remove the same environment variable in the same command")
    return Changes(put, tuple(remove))


def _lines(lines: Iterable[str]) -> list[Variable]:
    """Of `KEY=VALUE` lines, which may end with CR LF; what follows a # is left out."""
    pairs = (line.removesuffix("\n").removesuffix("\r").partition("#")[0].partition("=") for line in lines)
    return [{"name": name, "value": value} for name, sign, value in pairs if sign]


def references(source: Any, kind: Any, keys: list[str]) -> list[Variable]:
    """A variable for each key of a config map or a secret, or for those in `keys`."""
    field = "secretKeyRef" if kind is kinds.SECRET else "configMapKeyRef"
    name = source.metadata.name
    return [
        {"name": _variable(key), "valueFrom": {field: {"name": name, "key": key}}}
        for key in sorted(source.data)
        if not keys or key in keys
    ]


def _variable(key: str) -> str:
    name = _NO_LETTER.sub("_", key).upper()
    if name != key:
        report(f"Warning: key {key} transferred to {name}")
    return name


def change(container: dict[str, Any], changes: Changes, *, overwrite: bool) -> None:
    """New values take the places of present ones. Raises BadRequest without `overwrite` where one would change."""
    present: list[Variable] = container.get("env", [])
    wanted = {item["name"]: item for item in changes.put}
    if not overwrite:
        for item in present:
            new = wanted.get(item["name"])
            if new is not None and new.get("value", "") != item.get("value", ""):
                value = item.get("value", "")
                raise BadRequest(f"'{item['name']}' already has a value ({value}), and --overwrite is false")
    kept = [wanted.pop(item["name"], item) for item in present if item["name"] not in changes.remove]
    env = [*kept, *(item for name, item in wanted.items() if name not in changes.remove)]
    if env or present:
        container["env"] = env


def listing(container: dict[str, Any], resolve: Callable[[str, dict[str, Any]], str] | None) -> list[str]:
    """A line for each variable: its value, or a comment with its source."""
    return [_line(item, resolve) for item in container.get("env", ())]


def _line(item: Variable, resolve: Callable[[str, dict[str, Any]], str] | None) -> str:
    source = item.get("valueFrom")
    if source is None:
        return f"{item['name']}={item.get('value', '')}"
    for field, word in _REFERENCES:
        if field in source:
            if resolve is not None:
                return f"{item['name']}={resolve(field, source[field])}"
            return f"# {item['name']} from {word} {source[field].get('name', '')}, key {source[field].get('key', '')}"
    if "fieldRef" in source:
        return f"# {item['name']} from field path {source['fieldRef'].get('fieldPath', '')}"
    found = source.get("resourceFieldRef", {})
    prefix = f"{found['containerName']}/" if found.get("containerName") else ""
    return f"# {item['name']} from resource field {prefix}{found.get('resource', '')}"


def resolver(client: Any, namespace: str) -> Callable[[str, dict[str, Any]], str]:
    """Reads values of config maps and secrets, each object once. The function raises NotFound."""
    found: dict[tuple[str, str], Any] = {}

    def resolve(field: str, reference: dict[str, Any]) -> str:
        kind = kinds.SECRET if field == "secretKeyRef" else kinds.CONFIG_MAP
        name, key = reference.get("name", ""), reference.get("key", "")
        if (field, name) not in found:
            found[field, name] = client.get(kind, namespace, name)
        data = found[field, name].data
        if key not in data:
            raise NotFound(f"key {key} not found in {kind.singular} {name}")
        value = data[key]
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    return resolve
