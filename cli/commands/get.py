"""`kctl get`: objects as tables or documents, once or as they change."""

from __future__ import annotations

import sys
from typing import Any

from cli import flags, output, tables
from cli.complaints import complain
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Expired, NotFound
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser("get", "Show one or many objects: kctl get pods, kctl get pod/web, kctl get po,no -o wide")
    parser.add_argument("what", nargs="*", help="kind [name...], kind/name..., or kind,kind")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    parser.add_argument("-w", "--watch", action="store_true", help="go on with every change")
    parser.add_argument("--sort-by", default="", metavar="PATH", help="by a field, such as .metadata.creationTimestamp")
    parser.add_argument("-L", "--label-columns", action="append", default=[], metavar="LABEL", help="a column of its values")
    parser.add_argument("--show-labels", action="store_true", help="all labels as the last column")
    parser.add_argument("--no-headers", action="store_true", help="only the rows")
    parser.add_argument("--show-managed-fields", action="store_true", help="in json and yaml: who owns which field")
    parser.add_argument("-f", "--filename", action="append", default=[], help="the objects named in a file")
    parser.add_argument("-R", "--recursive", action="store_true", help="folders with all below them")
    flags.add_selectors(parser)
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    targets = _targets(args)
    client = flags.client(args)
    namespace = "" if args.all_namespaces else client.context.namespace
    if args.watch:
        return _watch(client, targets, namespace, args)
    return _show(client, targets, namespace, args)


def _targets(args: Any) -> list[tuple[Kind, str]]:
    if not args.filename:
        return flags.targets(args.what)
    from cli import files

    return [(item.kind, item.name) for item in files.load(args.filename, recursive=args.recursive)]


def _show(client: Any, targets: list[tuple[Kind, str]], namespace: str, args: Any) -> int:
    found: dict[str, tuple[Kind, list[Any]]] = {}
    missing: list[ApiError] = []
    for kind, name in targets:
        items = found.setdefault(kind.kind, (kind, []))[1]
        try:
            if name:
                if args.all_namespaces:
                    raise BadRequest("a resource cannot be retrieved by name across all namespaces")
                items.append(client.get(kind, namespace, name))
            else:
                items += client.list(kind, namespace, labels=args.selector, fields=args.field_selector)
        except NotFound as error:
            missing.append(error)
    for kind, items in found.values():
        _sort(kind, items, args.sort_by)
    _print(found, targets, namespace, args)
    for failure in missing:
        complain(failure)
    return 1 if missing else 0


def _sort(kind: Kind, items: list[Any], path: str) -> None:
    if path:
        from cli import customcolumns

        items.sort(key=lambda item: customcolumns.sort_key(path, output.document(kind, item)))
    elif kind is kinds.EVENT:
        items.sort(key=tables.event_order)


def _print(found: dict[str, tuple[Kind, list[Any]]], targets: list[tuple[Kind, str]], namespace: str, args: Any) -> None:
    everything = [(kind, item) for kind, items in found.values() for item in items]
    if args.output == "name":
        for kind, item in everything:
            print(f"{kind.singular}/{item.metadata.name}")
        return
    if args.output not in ("", "wide"):
        named = len(targets) == 1 and bool(targets[0][1])
        if named and not everything:
            return
        documents = [output.document(kind, item, managed=args.show_managed_fields) for kind, item in everything]
        if args.output.startswith("custom-columns="):
            print(_custom(documents, args, header=not args.no_headers))
            return
        text = output.structured(args.output, documents, single=named)
        # A template says itself where lines end.
        sys.stdout.write(text if args.output.startswith("jsonpath") else text + "\n")
        return
    header, prefix = not args.no_headers, len(found) > 1
    blocks = [_table(kind, items, args, header=header, prefix=prefix) for kind, items in found.values() if items]
    if blocks:
        print("\n\n".join(blocks))
    elif any(not name for _, name in targets):
        where = "" if args.all_namespaces or not targets[0][0].namespaced else f" in {namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)


def _table(kind: Kind, items: list[Any], args: Any, **more: Any) -> str:
    labels = [name for word in args.label_columns for name in word.split(",")]
    columns = tables.label_columns(labels, everything=args.show_labels)
    return output.table(
        kind, items, wide=args.output == "wide", namespace=args.all_namespaces, labels=columns, **more
    )  # fmt: skip


def _custom(documents: list[dict[str, Any]], args: Any, **more: Any) -> str:
    from cli import customcolumns

    return customcolumns.table(args.output, documents, **more)


def _watch(client: Any, targets: list[tuple[Kind, str]], namespace: str, args: Any) -> int:
    if len({kind.kind for kind, _ in targets}) != 1 or len(targets) > 1:
        raise BadRequest("you may only specify a single resource type, or a single object, to watch")
    kind, name = targets[0]
    if name:
        # To watch for what is not there yet is a slip of the pen more often than a wish: kctl wait --for=create does that.
        client.get(kind, namespace, name)
    rows = _Rows(kind, args)
    while True:
        try:
            present: list[Any] | None = []
            for type_, item in client.watch(kind, namespace, name=name, labels=args.selector, fields=args.field_selector):
                if present is not None and item is not None:
                    present.append(item)
                elif present is not None:
                    # What is there stands in one table, whose columns are as wide as all of it needs.
                    _sort(kind, present, args.sort_by)
                    rows.show(present)
                    present = None
                else:
                    rows.show([item], deleted=type_ == "DELETED")
        except Expired:
            continue
        return 0


class _Rows:
    """What a watch prints: the header once, columns that never get narrower."""

    def __init__(self, kind: Kind, args: Any) -> None:
        self._kind, self._args = kind, args
        self._header = not args.no_headers
        self._widths: list[int] = []

    def show(self, items: list[Any], *, deleted: bool = False) -> None:
        if items:
            print(self._text(items, deleted=deleted), flush=True)

    def _text(self, items: list[Any], *, deleted: bool) -> str:
        kind, format_ = self._kind, self._args.output
        header, self._header = self._header, False
        if format_ in ("", "wide"):
            return _table(kind, items, self._args, header=header, widths=self._widths)
        if format_ == "name":
            return "\n".join(f"{kind.singular}/{item.metadata.name}{' (deleted)' if deleted else ''}" for item in items)
        documents = [output.document(kind, item) for item in items]
        if format_.startswith("custom-columns="):
            return _custom(documents, self._args, header=header, widths=self._widths)
        between = "\n---\n" if format_ == "yaml" else "\n"
        text = between.join(output.structured(format_, [document], single=True) for document in documents)
        return text if header or format_ != "yaml" else f"---\n{text}"
