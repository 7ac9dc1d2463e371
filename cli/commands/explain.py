"""`kctl explain`: a kind and its fields, from the same schema that validates manifests."""

from __future__ import annotations

import json
from importlib import resources

from cli import discovery, explainpath, flags
from cli.explainpath import Explained
from pinnace import kinds, schema
from pinnace.errors import BadRequest
from pinnace.schema import Field, Schema, flatten, type_of


def run(arguments: list[str]) -> int:
    parser = flags.Parser("explain", "Document a resource type and its fields: kctl explain pod.spec.containers")
    parser.add_argument("path", help="TYPE or TYPE.FIELD.FIELD; TYPE may have a group: deployments.apps.spec")
    parser.add_argument("--recursive", action="store_true", help="print all nested fields, without descriptions")
    parser.add_argument("--api-version", default="", metavar="GROUP/VERSION", help="explain this version of TYPE")
    parser.add_argument("--output", choices=("plaintext",), default="plaintext", help="format (default: plaintext)")
    args = parser.parse_args(arguments)
    named = explainpath.locate(args.path, args.api_version, lambda: flags.client(args))
    page = _custom if discovery.is_custom(named.kind) else _built_in
    print("\n".join(page(named, recursive=args.recursive)))
    return 0


def _custom(named: Explained, *, recursive: bool) -> list[str]:
    from cli import explaincustom

    return explaincustom.page(named.kind, named.fields, recursive=recursive)


def _built_in(named: Explained, *, recursive: bool) -> list[str]:
    """Raises BadRequest for a field that does not exist."""
    spec, found = schema.of(named.kind.cls), None
    owner, path = spec, named.fields
    for index, part in enumerate(path):
        located = spec.find(part) if found is None or found.message is not None else None
        if located is None:
            raise BadRequest(f'field "{part}" does not exist in {".".join([named.word, *path[:index]])}')
        owner = next(holder for name, _, holder in flatten(spec) if name == part)
        found = located[1]
        spec = found.message or spec
    texts: dict[str, str] = json.loads(resources.files("pinnace").joinpath("field_docs.json").read_text())
    said = texts.get(f"{owner.full_name}.{path[-1]}", "") if path else ""
    return _page(named.kind, spec, found, path, texts, said=said or texts.get(spec.full_name, ""), recursive=recursive)


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
