"""Manifests from files, folders and standard input, and errors that name their place."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinnace import codec, kinds, manifest
from pinnace.errors import BadRequest, Invalid
from pinnace.kinds import Kind
from pinnace.manifest import Document

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 1_000


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a file; `path` is where it stands in its document (in a List: `items[2]`)."""

    document: Document
    kind: Kind
    value: dict[str, Any]
    path: str = ""

    @property
    def name(self) -> str:
        meta = self.value.get("metadata")
        name = meta.get("name") if isinstance(meta, dict) else None
        return "" if name is None else str(name)

    @property
    def namespace(self) -> str:
        meta = self.value.get("metadata")
        return str(meta.get("namespace") or "") if isinstance(meta, dict) else ""

    def locate(self, cause: Any) -> str:
        """`pod.yaml:14: spec...: message`."""
        from pinnace.errors import Cause

        return self.document.locate(Cause(codec.join(self.path, cause.field), cause.message))


def load(names: list[str], *, recursive: bool) -> list[Item]:
    """Every object of every file. Raises BadRequest, Invalid, NotFound."""
    if not names:
        raise BadRequest("must specify one of -f FILE, a folder, or -f - for standard input")
    items = []
    for path in _expand(names, recursive=recursive):
        data = sys.stdin.buffer.read(manifest.MAX_BYTES + 1) if path == "-" else _read(path)
        for document in manifest.load(data, "stdin" if path == "-" else path):
            items += _items(document, document.value, "")
    if not items:
        raise BadRequest("no objects passed to kctl")
    return items


def _expand(names: list[str], *, recursive: bool) -> list[str]:
    found: list[str] = []
    for name in names:
        path = Path(name)
        if name != "-" and os.path.isdir(path):
            inside = path.rglob("*") if recursive else path.iterdir()
            found += sorted(str(item) for item in inside if item.suffix in SUFFIXES and item.is_file())
        else:
            found.append(name)
    if len(found) > MAX_FILES:
        raise BadRequest(f"more than {MAX_FILES} files")
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(manifest.MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadRequest(f'the path "{path}" does not exist') from None
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None


def _items(document: Document, value: Any, path: str) -> list[Item]:
    where = f"{document.source}:{document.line_of(path)}"
    if not isinstance(value, dict):
        raise Invalid(f"{where}: expected an object, got {codec.describe(value)}")
    api_version, kind = value.get("apiVersion"), value.get("kind")
    for key, found in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(found, str) or not found:
            raise Invalid(f"{where}: {codec.join(path, key)}: Required value")
    if kind == "List" and isinstance(value.get("items"), list):
        nested = [(codec.join(path, f"items[{index}]"), item) for index, item in enumerate(value["items"])]
        return [found for here, item in nested for found in _items(document, item, here)]
    try:
        served = kinds.find(str(api_version), str(kind))
    except Exception as error:
        raise Invalid(f"{document.source}:{document.line_of(codec.join(path, 'kind'))}: {error}") from None
    return [Item(document, served, value, path)]
