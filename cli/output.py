"""Printing objects: table, wide, name, json, yaml, jsonpath."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from pinnace import codec
from pinnace.errors import BadRequest
from pinnace.kinds import Kind

FORMATS = (
    "json, yaml, name, wide, jsonpath=TEMPLATE, jsonpath-as-json=TEMPLATE, jsonpath-file=PATH, "
    "custom-columns=TITLE:PATH,..., custom-columns-file=PATH"
)
_PLAIN = ("", "json", "yaml", "name", "wide")
_COLUMNS = ("custom-columns", "custom-columns-file")
_TEMPLATES = ("jsonpath", "jsonpath-as-json", "jsonpath-file")
_GO_TEMPLATES = ("go-template", "go-template-file", "template", "templatefile")


def check(format_: str) -> str:
    """The format, which is known and whose template can be read. Raises BadRequest."""
    word, _, argument = format_.partition("=")
    if format_ in _PLAIN:
        return format_
    if word in _GO_TEMPLATES:
        raise BadRequest(f"-o {word} is not supported: kctl has no Go templates; use -o jsonpath=TEMPLATE or -o json")
    if word not in (*_COLUMNS, *_TEMPLATES):
        raise BadRequest(
            f'unable to match a printer suitable for the output format "{format_}", allowed formats are: {FORMATS}'
        )
    if not argument:
        raise BadRequest(f"-o {word}: template format specified but no template given")
    if word in _COLUMNS:
        from cli import customcolumns

        customcolumns.parse(format_)
    else:
        template(format_)
    return format_


def is_columns(format_: str) -> bool:
    """Whether the format is a table that the command line describes."""
    return format_.partition("=")[0] in _COLUMNS


@functools.lru_cache(maxsize=8)
def template(format_: str, *, allow_missing: bool = True) -> Any:
    """The jsonpath.Template of one of the three jsonpath formats. Raises BadRequest."""
    from cli import reading
    from pinnace import jsonpath

    word, _, text = format_.partition("=")
    if word == "jsonpath-file":
        return jsonpath.Template(reading.text(text), allow_missing=allow_missing)
    return jsonpath.Template(text if "{" in text else jsonpath.relaxed(text), allow_missing=allow_missing)


def document(kind: Kind, message: Any, *, managed: bool = False) -> dict[str, Any]:
    """An object as JSON data, in the order in which people write it."""
    value: dict[str, Any] = codec.encode(message)
    if not managed:
        value.get("metadata", {}).pop("managedFields", None)
    value = {"apiVersion": kind.api_version, "kind": kind.kind, **value}
    head: dict[str, Any] = {key: value.pop(key) for key in ("apiVersion", "kind", "metadata") if key in value}
    return {**head, **value}


def structured(format_: str, documents: list[dict[str, Any]], *, single: bool, allow_missing: bool = True) -> str:
    """JSON, YAML, JSONPath or custom columns of one object or a List, with the line end that belongs to the format.

    Raises BadRequest for a template that does not fit the objects."""
    if is_columns(format_):
        from cli import customcolumns

        return customcolumns.table(format_, documents) + "\n"
    value: Any = documents[0] if single else {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": documents}
    if format_ == "json":
        return to_json(value) + "\n"
    if format_ == "yaml":
        return to_yaml(value) + "\n"
    found = template(format_, allow_missing=allow_missing)
    # A template says itself where lines end.
    return str(found.render_json(value) if format_.startswith("jsonpath-as-json=") else found.render(value))


def to_yaml(value: Any) -> str:
    """A document that `kctl apply -f -` reads back as it is, without a newline at its end."""
    from pinnace.manifest import writing

    return writing.dump(value)


def to_json(value: Any) -> str:
    """Indented as kubectl does, every script as it is. What is no character to a reader of YAML is escaped."""
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)
