"""`kctl api-resources`: the kinds that are served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cli import discovery, flags, tables
from cli.discovery import Served
from pinnace.kinds import Kind

_TITLES = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
_SORTS: dict[str, Callable[[Kind], Any]] = {
    "": lambda kind: (kind.group, kind.plural),
    "name": lambda kind: kind.plural,
    "kind": lambda kind: kind.kind,
}


def run(arguments: list[str]) -> int:
    parser = flags.Parser("api-resources", "List the served resource types")
    parser.add_argument(
        "-o", "--output", default="", choices=("", "name", "wide"), help="name: only the names; wide: verbs and categories too"
    )
    parser.add_argument("--api-group", help="only resources of this API group (empty: the core group)")
    parser.add_argument("--namespaced", action="store_true", default=None, help="only resources of this scope")
    parser.add_argument("--verbs", default="", help="only resources with all of these verbs, such as list,watch")
    parser.add_argument("--categories", default="", help="only resources of all of these categories")
    parser.add_argument("--sort-by", default="", choices=tuple(_SORTS), help="name or kind (default: API group, then name)")
    parser.add_argument("--no-headers", action="store_true", help="print no header line")
    args = parser.parse_args(arguments)
    flags.client(args)
    order = _SORTS[args.sort_by]
    found = sorted((item for item in discovery.served() if _matches(item, args)), key=lambda item: order(item.kind))
    if args.output == "name":
        print("".join(f"{item.kind.resource}\n" for item in found), end="")
        return 0
    wide = args.output == "wide"
    rows = [] if args.no_headers else [[*_TITLES, *(("VERBS", "CATEGORIES") if wide else ())]]
    rows += [_row(item, wide=wide) for item in found]
    if rows:
        print(tables.render(rows))
    return 0


def _matches(item: Served, args: Any) -> bool:
    return (
        args.api_group in (None, item.kind.group)
        and args.namespaced in (None, item.kind.namespaced)
        and set(filter(None, args.verbs.split(","))) <= set(item.verbs)
        and set(filter(None, args.categories.split(","))) <= set(item.categories)
    )


def _row(item: Served, *, wide: bool) -> list[str]:
    kind = item.kind
    row = [kind.plural, ",".join(kind.short_names), kind.api_version, str(kind.namespaced).lower(), kind.kind]
    return [*row, ",".join(item.verbs), ",".join(item.categories)] if wide else row
