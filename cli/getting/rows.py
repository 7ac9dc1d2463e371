"""Tables of `kctl get`: rendered by the control plane, laid out here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cli.getting.reader import Target, ordered_objects
from cli.tables import Layout, Row, Table
from pinnace import kinds
from pinnace.kinds import Kind


class Tables:
    """One table for each kind."""

    def __init__(self, client: Any, args: Any) -> None:
        self.client = client
        self._args = args
        self._tables: dict[str, tuple[Kind, Table]] = {}
        # Of a watch: the header is printed once, and columns never get narrower.
        self._header = not args.no_headers
        self._widths: list[int] = []

    def read(self, target: Target) -> None:
        from cli.client import form

        table = self._table(target.kind)
        for message in self._messages(target):
            table.take(form(target.kind, self._args.subresource), message)

    def _table(self, kind: Kind) -> Table:
        return self._tables.setdefault(kind.kind, (kind, Table()))[1]

    def _messages(self, target: Target) -> list[Any]:
        kind, name, namespace = target
        if name:
            part = self._args.subresource
            return [self.client.get_table(kind, namespace, name, self._options(kind), subresource=part)]
        args = self._args
        found: list[Any] = self.client.list_tables(
            kind, namespace, self._options(kind), labels=args.selector, fields=args.field_selector
        )
        return found

    def _options(self, kind: Kind) -> Any:
        """As much of the objects as the order and the layout need."""
        from pinnace.api.v1.objects_pb2 import TableOptions

        if self._args.sort_by or kind is kinds.EVENT:
            return TableOptions(includeObject=TableOptions.OBJECT)
        needed = self._layout(kind).needs_metadata
        return TableOptions(includeObject=TableOptions.METADATA if needed else TableOptions.NONE)

    def _layout(self, kind: Kind) -> Layout:
        args = self._args
        return Layout(
            wide=args.output == "wide",
            namespace=args.all_namespaces and kind.namespaced,
            labels=tuple(name for word in args.label_columns for name in word.split(",")),
            all_labels=args.show_labels,
        )

    def print(self, targets: list[Target]) -> bool:
        several, blocks = len(self._tables) > 1, []
        for kind, table in self._tables.values():
            if table.rows:
                layout = replace(self._layout(kind), prefix=f"{kind.qualified}/" if several else "")
                rows = self.ordered(kind, table.rows)
                blocks.append(layout.text(table.columns, rows, header=not self._args.no_headers))
        if blocks:
            print("\n\n".join(blocks))
        return bool(blocks)

    def ordered(self, kind: Kind, items: list[Row]) -> list[Row]:
        return ordered_objects(kind, items, self._args.sort_by, lambda row: row.item)

    def watch(self, target: Target) -> Iterator[tuple[str, list[Row]]]:
        kind, name, namespace = target
        args, table = self._args, self._table(kind)
        events = self.client.watch_tables(
            kind, namespace, self._options(kind), name=name, labels=args.selector, fields=args.field_selector
        )
        for type_, message in events:
            yield type_, table.take(kind, message) if message is not None else []
            # A watch may be long: what is printed is not kept.
            table.rows.clear()

    def print_changes(self, target: Target, items: list[Row], *, deleted: bool = False) -> None:
        if not items:
            return
        header, self._header = self._header, False
        columns = self._table(target.kind).columns
        print(self._layout(target.kind).text(columns, items, header=header, widths=self._widths), flush=True)
