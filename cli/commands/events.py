"""`kctl events`: what happened, oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cli import flags, output, tables
from cli.tables import Layout, Row, Table
from pinnace import kinds
from pinnace.errors import BadRequest


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which events: an empty namespace is all of them, no types any; `fields` is a field selector."""

    namespace: str
    fields: str
    types: frozenset[str]

    def matches(self, row: Row) -> bool:
        return not self.types or row.item.type.lower() in self.types


def run(arguments: list[str]) -> int:
    parser = flags.Parser("events", "List events, oldest first: kctl events --for pod/web")
    parser.add_argument("--for", dest="for_", metavar="TYPE/NAME", default="", help="only events of this object")
    parser.add_argument("--types", default="", help="event types: Normal, Warning or Normal,Warning (default: all)")
    parser.add_argument("-w", "--watch", action="store_true", help="list, then watch for new events")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="use all namespaces")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    args = parser.parse_args(arguments)
    output.check(args.output)
    client = flags.client(args)
    asked = _asked(client, args)
    table = _read(client, asked)
    found = sorted(filter(asked.matches, table.rows), key=lambda row: tables.event_order(row.item))
    layout = Layout(wide=args.output == "wide", namespace=args.all_namespaces)
    if args.output not in ("", "wide", "name"):
        documents = [output.document(kinds.EVENT, row.item) for row in found]
        print(output.structured(args.output, documents, single=False), end="")
    elif found or args.watch:
        print(layout.text(table.columns, found), flush=True)
    else:
        where = "" if args.all_namespaces else f" in {asked.namespace} namespace"
        print(f"No events found{where}.")
    return _follow(client, asked, layout, found) if args.watch else 0


def _asked(client: Any, args: Any) -> _Asked:
    """Raises BadRequest, NotFound."""
    namespace, fields = "" if args.all_namespaces else client.context.namespace, ""
    if args.for_:
        if "/" not in args.for_:
            raise BadRequest(f'--for: "{args.for_}" is not TYPE/NAME, such as pod/{args.for_}')
        kind, name = flags.targets([args.for_])[0]
        fields = f"involvedObject.kind={kind.kind},involvedObject.name={name}"
        namespace = namespace if kind.namespaced else ""
    return _Asked(namespace, fields, frozenset(word.strip().lower() for word in args.types.split(",") if word.strip()))


def _options() -> Any:
    """Events are selected and ordered here, by their fields."""
    from pinnace.api.v1.objects_pb2 import TableOptions

    return TableOptions(includeObject=TableOptions.OBJECT)


def _read(client: Any, asked: _Asked) -> Table:
    table = Table()
    for message in client.list_tables(kinds.EVENT, asked.namespace, _options(), fields=asked.fields):
        table.take(kinds.EVENT, message)
    return table


def _follow(client: Any, asked: _Asked, layout: Layout, found: list[Row]) -> int:
    seen = {(row.item.metadata.uid, row.item.count) for row in found}
    table = Table()
    for type_, message in client.watch_tables(kinds.EVENT, asked.namespace, _options(), fields=asked.fields):
        rows = table.take(kinds.EVENT, message) if message is not None else []
        table.rows.clear()
        new = [row for row in rows if asked.matches(row) and (row.item.metadata.uid, row.item.count) not in seen]
        if new and type_ != "DELETED":
            print(layout.text(table.columns, new, header=False), flush=True)
    return 0
