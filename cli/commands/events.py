"""`kctl events`: what happened, oldest first."""

from __future__ import annotations

from typing import Any

from cli import flags, output, tables
from pinnace import kinds
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("events", "List events, oldest first: kctl events --for pod/web")
    parser.add_argument("--for", dest="for_", metavar="KIND/NAME", default="", help="only those about kind/name")
    parser.add_argument("--types", default="", help="Normal, Warning, or both with a comma")
    parser.add_argument("-w", "--watch", action="store_true")
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    args = parser.parse_args(arguments)
    output.check(args.output)
    client = flags.client(args)
    namespace = "" if args.all_namespaces else client.context.namespace
    fields = ""
    if args.for_:
        if "/" not in args.for_:
            raise BadRequest(f'--for: "{args.for_}" is not kind/name, such as pod/{args.for_}')
        kind, name = flags.targets([args.for_])[0]
        fields = f"involvedObject.kind={kind.kind},involvedObject.name={name}"
        namespace = namespace if kind.namespaced else ""
    types = {word.strip().lower() for word in args.types.split(",") if word.strip()}
    found = [e for e in client.list(kinds.EVENT, namespace, fields=fields) if not types or e.type.lower() in types]
    found.sort(key=tables.event_order)
    if args.output not in ("", "wide", "name"):
        print(output.structured(args.output, [output.document(kinds.EVENT, event) for event in found], single=False))
    elif found or args.watch:
        _table(found, args)
    else:
        where = "" if args.all_namespaces else f" in {namespace} namespace"
        print(f"No events found{where}.")
    return _follow(client, namespace, fields, types, found, args) if args.watch else 0


def _table(found: list[Any], args: Any, *, header: bool = True) -> None:
    text = output.table(kinds.EVENT, found, wide=args.output == "wide", namespace=args.all_namespaces, header=header)
    if text:
        print(text, flush=True)


def _follow(client: Any, namespace: str, fields: str, types: set[str], found: list[Any], args: Any) -> int:
    seen = {(event.metadata.uid, event.count) for event in found}
    for type_, event in client.watch(kinds.EVENT, namespace, fields=fields):
        if event is None or type_ == "DELETED" or (event.metadata.uid, event.count) in seen:
            continue
        if not types or event.type.lower() in types:
            _table([event], args, header=False)
    return 0
