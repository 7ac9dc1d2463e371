"""`kctl api-resources`: the kinds that are served."""

from __future__ import annotations

from cli import flags, tables
from pinnace import kinds


def run(arguments: list[str]) -> int:
    parser = flags.Parser("api-resources", "List the kinds that are served")
    parser.add_argument("-o", "--output", default="", choices=("name", "wide"), help="name or wide")
    args = parser.parse_args(arguments)
    if args.output == "name":
        print("\n".join(kind.resource for kind in kinds.ALL))
        return 0
    rows = [["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]]
    for kind in sorted(kinds.ALL, key=lambda k: (k.group, k.plural)):
        rows.append([kind.plural, ",".join(kind.short_names), kind.api_version, str(kind.namespaced).lower(), kind.kind])
    print(tables.render(rows))
    return 0
