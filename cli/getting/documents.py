"""Objects of `kctl get` as documents: JSON, YAML, names, templates and columns of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from cli import output
from cli.getting.reader import Target, ordered_objects
from pinnace.kinds import Kind


class Documents:
    """The objects of each kind, in the order in which the kinds were named."""

    def __init__(self, client: Any, args: Any) -> None:
        self.client = client
        self._args = args
        self._found: dict[str, tuple[Kind, list[Any]]] = {}
        # Of a watch: whether nothing has been printed yet, and the widths of columns.
        self._first = True
        self._widths: list[int] = []

    def read(self, target: Target) -> None:
        from cli.client import form

        kind, name, namespace = target
        args = self._args
        items = self._found.setdefault(kind.kind, (form(kind, args.subresource), []))[1]
        if name:
            items.append(self.client.get(kind, namespace, name, subresource=args.subresource))
        else:
            items += self.client.list(kind, namespace, labels=args.selector, fields=args.field_selector)

    def print(self, targets: list[Target]) -> bool:
        args = self._args
        everything = [(kind, item) for kind, items in self._found.values() for item in self.ordered(kind, items)]
        if args.output == "name":
            for kind, item in everything:
                print(_name(kind, item))
            return True
        named = len(targets) == 1 and bool(targets[0].name)
        if named and not everything:
            return True
        documents = [output.document(kind, item, managed=args.show_managed_fields) for kind, item in everything]
        if output.is_columns(args.output):
            print(_columns(documents, args, header=not args.no_headers))
            return True
        missing = args.allow_missing_template_keys
        sys.stdout.write(output.structured(args.output, documents, single=named, allow_missing=missing))
        return True

    def ordered(self, kind: Kind, items: list[Any]) -> list[Any]:
        return ordered_objects(kind, items, self._args.sort_by, lambda item: item)

    def watch(self, target: Target) -> Iterator[tuple[str, list[Any]]]:
        kind, name, namespace = target
        args = self._args
        events = self.client.watch(kind, namespace, name=name, labels=args.selector, fields=args.field_selector)
        for type_, item in events:
            yield type_, [] if item is None else [item]

    def print_changes(self, target: Target, items: list[Any], *, deleted: bool = False) -> None:
        if items:
            first, self._first = self._first, False
            print(self._text(target.kind, items, first=first, deleted=deleted), flush=True)

    def _text(self, kind: Kind, items: list[Any], *, first: bool, deleted: bool) -> str:
        format_ = self._args.output
        if format_ == "name":
            return "\n".join(f"{_name(kind, item)}{' (deleted)' if deleted else ''}" for item in items)
        documents = [output.document(kind, item) for item in items]
        if output.is_columns(format_):
            return _columns(documents, self._args, header=first and not self._args.no_headers, widths=self._widths)
        texts = [output.structured(format_, [document], single=True).removesuffix("\n") for document in documents]
        text = ("\n---\n" if format_ == "yaml" else "\n").join(texts)
        return text if first or format_ != "yaml" else f"---\n{text}"


def _name(kind: Kind, item: Any) -> str:
    return f"{kind.qualified}/{item.metadata.name}"


def _columns(documents: list[dict[str, Any]], args: Any, **more: Any) -> str:
    from cli import customcolumns

    return customcolumns.table(args.output, documents, **more)
