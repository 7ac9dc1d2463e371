"""`kctl explain`: a kind and its fields, from the same schema that validates manifests."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from cli import discovery, flags
from pinnace import kinds, schema
from pinnace.errors import BadRequest, NotFound
from pinnace.schema import Field, Schema, flatten, type_of


def run(arguments: list[str]) -> int:
    parser = flags.Parser("explain", "Document a resource type and its fields: kctl explain pod.spec.containers")
    parser.add_argument("path", help="TYPE or TYPE.FIELD.FIELD")
    parser.add_argument("--recursive", action="store_true", help="print all nested fields, without descriptions")
    args = parser.parse_args(arguments)
    word, _, rest = args.path.partition(".")
    kind, rest = _located(word, rest, args)
    if discovery.is_custom(kind):
        from cli import explaincustom

        print("\n".join(explaincustom.page(kind, [part for part in rest.split(".") if part], recursive=args.recursive)))
        return 0
    spec, found = schema.of(kind.cls), None
    owner = spec
    path = [part for part in rest.split(".") if part]
    for index, part in enumerate(path):
        located = spec.find(part) if found is None or found.message is not None else None
        if located is None:
            raise BadRequest(f'field "{part}" does not exist in {".".join([word, *path[:index]])}')
        owner = next(holder for name, _, holder in flatten(spec) if name == part)
        found = located[1]
        spec = found.message or spec
    texts: dict[str, str] = json.loads(resources.files("pinnace").joinpath("field_docs.json").read_text())
    said = texts.get(f"{owner.full_name}.{path[-1]}", "") if path else ""
    print(
        "\n".join(_page(kind, spec, found, path, texts, said=said or texts.get(spec.full_name, ""), recursive=args.recursive))
    )
    return 0


def _located(word: str, rest: str, args: Any) -> tuple[kinds.Kind, str]:
    """The kind, and the path in it. Built-in kinds need no control plane. Raises NotFound."""
    try:
        return kinds.by_word(word), rest
    except NotFound:
        flags.client(args)
        return discovery.by_word(word), rest


def _page(
    kind: kinds.Kind, spec: Schema, found: Field | None, path: list[str], texts: dict[str, str], *,
    said: str, recursive: bool,
) -> list[str]:  # fmt: skip
    """`said` describes the field, or the kind."""
    lines = [f"KIND:       {kind.kind}", f"VERSION:    {kind.api_version}", ""]
    if found is not None:
        lines += [f"FIELD: {path[-1]} <{type_of(found)}>", ""]
    lines += ["DESCRIPTION:", *_wrap(said, 4)]
    lines += _rules(found) if found is not None else []
    if found is not None and found.message is None:
        return lines
    lines += ["", "FIELDS:"]
    if found is None:
        lines += [
            "  apiVersion\t<string>",
            f"    Always {kind.api_version}.",
            "",
            "  kind\t<string>",
            f"    Always {kind.kind}.",
            "",
        ]
    return lines + (_tree(spec, 1, set()) if recursive else _fields(spec, texts))


def _fields(spec: Schema, texts: dict[str, str]) -> list[str]:
    lines = []
    for name, item, owner in flatten(spec):
        required = " -required-" if item.required else ""
        lines.append(f"  {name}\t<{type_of(item)}>{required}")
        lines += _wrap(texts.get(f"{owner.full_name}.{name}", ""), 4)
        lines += [*_rules(item), ""]
    return lines[:-1]


def _rules(item: Field) -> list[str]:
    lines = []
    if item.unsupported:
        lines.append("    Not supported by Pinnace yet: a manifest that sets it is refused.")
    if item.rules.default:
        lines.append(f"    Default: {item.rules.default}")
    if item.rules.enum:
        lines.append(f"    One of: {', '.join(item.rules.enum)}")
    return lines


def _tree(spec: Schema, depth: int, above: set[str]) -> list[str]:
    lines = []
    for name, item, _ in flatten(spec):
        lines.append(f"{'  ' * depth}{name}\t<{type_of(item)}>{' -required-' if item.required else ''}")
        if item.message is not None and item.message.full_name not in above and depth < 12:
            lines += _tree(item.message, depth + 1, above | {item.message.full_name})
    return lines


def _wrap(text: str, indent: int) -> list[str]:
    import textwrap

    pad = " " * indent
    return textwrap.wrap(text, 92, initial_indent=pad, subsequent_indent=pad) or [pad + "<no description>"]
