"""Printing objects: table, wide, name, json, yaml, jsonpath; and progress for work that takes a while."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from cli import tables
from pinnace import codec
from pinnace.errors import BadRequest
from pinnace.kinds import Kind

FORMATS = "json, yaml, name, wide, jsonpath=TEMPLATE, custom-columns=TITLE:PATH,..."


def check(format_: str) -> str:
    """Raises BadRequest for a format there is not."""
    if format_ in ("", "json", "yaml", "name", "wide") or format_.startswith("jsonpath="):
        return format_
    if format_.startswith("custom-columns="):
        from cli import customcolumns

        customcolumns.parse(format_)
        return format_
    raise BadRequest(f'unable to match a printer suitable for the output format "{format_}", allowed formats are: {FORMATS}')


def document(kind: Kind, message: Any, *, managed: bool = False) -> dict[str, Any]:
    """An object as JSON data, in the order in which people write it."""
    value: dict[str, Any] = codec.encode(message)
    if not managed:
        value.get("metadata", {}).pop("managedFields", None)
    value = {"apiVersion": kind.api_version, "kind": kind.kind, **value}
    head: dict[str, Any] = {key: value.pop(key) for key in ("apiVersion", "kind", "metadata") if key in value}
    return {**head, **value}


def structured(format_: str, documents: list[dict[str, Any]], *, single: bool) -> str:
    """JSON, YAML, JSONPath or custom columns of one object or a List."""
    if format_.startswith("custom-columns="):
        from cli import customcolumns

        return customcolumns.table(format_, documents)
    value: Any = documents[0] if single else {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": documents}
    if format_ == "json":
        return json.dumps(value, indent=4)
    if format_ == "yaml":
        return to_yaml(value)
    from cli import jsonpath

    return jsonpath.evaluate(format_.removeprefix("jsonpath="), value)


def to_yaml(value: Any) -> str:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Blocks for text of several lines, and no aliases."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, data: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=10_000).rstrip("\n")


def table(
    kind: Kind,
    items: list[Any],
    *,
    wide: bool,
    namespace: bool,
    header: bool = True,
    prefix: bool = False,
    widths: list[int] | None = None,
    labels: tuple[tables.Column, ...] = (),
) -> str:
    """`widths` as in `tables.grow`; `labels` are further columns."""
    chosen = [*tables.columns(kind, wide=wide, namespace=namespace), *labels]
    now = time.time()
    rows = [[column.title for column in chosen]] if header else []
    for item in items:
        row = [column.cell(item, now) or "<none>" for column in chosen]
        if prefix:
            at = next(index for index, column in enumerate(chosen) if column.title == "NAME")
            row[at] = f"{kind.singular}/{row[at]}"
        rows.append(row)
    return tables.render(rows, tables.grow(widths, rows)) if rows else ""


class Progress:
    """One line on a terminal's stderr that is written over; nothing anywhere else."""

    _FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._frame = 0
        self._start = time.monotonic()

    def show(self, text: str) -> None:
        """Say what is being waited for; silent in the first half second."""
        if self._shown and time.monotonic() - self._start > 0.5:
            self._frame = (self._frame + 1) % len(self._FRAMES)
            sys.stderr.write(f"\r\x1b[K{self._FRAMES[self._frame]} {text[: os.get_terminal_size(2).columns - 3]}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
