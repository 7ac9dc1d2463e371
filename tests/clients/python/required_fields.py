"""Prints the fields that lightkube's generated types cannot do without, as JSON: `core.NodeSystemInfo` to names."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator

import msgspec
from lightkube import models


def structs() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for info in pkgutil.iter_modules(models.__path__):
        if info.name.endswith("_v1"):
            module = importlib.import_module(f"lightkube.models.{info.name}")
            for name, kind in vars(module).items():
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__:
                    yield f"{info.name.removesuffix('_v1')}.{name}", kind


def required(kind: type[msgspec.Struct]) -> list[str]:
    # Not `structs.fields`, which resolves annotations of other modules.
    count = len(kind.__struct_encode_fields__) - len(kind.__struct_defaults__)
    return list(kind.__struct_encode_fields__[:count])


print(json.dumps({name: required(kind) for name, kind in structs()}))
