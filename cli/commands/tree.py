"""`kctl tree`: an object and what it owns, as a tree.

Source: the tables of kctl get; the layout is that of the kubectl plugin tree.
"""

from __future__ import annotations

from typing import Any

from cli import discovery, flags, tables
from cli.complaints import report, shown
from cli.tables import Row, Table
from pinnace import humantime
from pinnace.errors import ApiError, BadRequest, NotFound, Unavailable
from pinnace.kinds import Kind

_HEADER = ["NAMESPACE", "NAME", "READY", "STATUS", "AGE"]
_UNKNOWN = "-"


def run(arguments: list[str]) -> int:
    parser = flags.Parser("tree", "Show objects with their dependents: kctl tree deployment/web")
    parser.add_argument("what", nargs="+", help="TYPE NAME..., or TYPE/NAME...")
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    targets = flags.targets(args.what)
    if not all(name for _, name in targets):
        raise BadRequest("specify TYPE NAME or TYPE/NAME: kctl tree deployment/web")
    rows = [_HEADER]
    for kind, name in targets:
        namespace = client.context.namespace if kind.namespaced else ""
        found = Objects(client, namespace, kind)
        rows += found.tree(found.named(kind, name))
    print(shown(tables.render(rows)))
    return 0


class Node:
    """One object, as far as its row of a table shows it."""

    def __init__(self, kind: Kind, table: Table, row: Row) -> None:
        self.kind = kind
        self.meta = row.item.metadata
        self._cells = {column.title: cell for column, cell in zip(table.columns, row.cells, strict=True)}

    def row(self, prefix: str, now: float) -> list[str]:
        """`prefix` are the lines of the tree before the name."""
        created = self.meta.creationTimestamp.seconds
        age = humantime.duration(now - created) if created else humantime.UNKNOWN
        return [
            self.meta.namespace or _UNKNOWN,
            f"{prefix}{self.kind.kind}/{self.meta.name}",
            self._ready(),
            self._status(),
            age,
        ]

    def _ready(self) -> str:
        """Of how many there are to be, for all kinds that count either: pods, completions of a Job."""
        ready, desired = self._cells.get("READY", ""), self._cells.get("DESIRED", "")
        if ready and desired and "/" not in ready:
            return f"{ready}/{desired}"
        return ready or self._cells.get("COMPLETIONS") or _UNKNOWN

    def _status(self) -> str:
        """Kinds without the column are at least on their way out."""
        return self._cells.get("STATUS") or ("Terminating" if self.meta.deletionTimestamp.seconds else _UNKNOWN)


class Objects:
    """All objects that the root may own: those of its namespace, or of all for one that has none.

    One list for each kind; kinds that cannot be listed are reported and left out."""

    def __init__(self, client: Any, namespace: str, root: Kind) -> None:
        self._now = client.now()
        self._nodes: list[Node] = []
        self._owned: dict[str, list[Node]] = {}
        for item in discovery.served():
            # What cannot be deleted is computed, such as metrics, and has no owner.
            if {"list", "delete"} <= set(item.verbs) and (item.kind.namespaced or not root.namespaced):
                self._nodes += _list(client, item.kind, namespace)
        for node in sorted(self._nodes, key=lambda node: (node.kind.kind, node.meta.namespace, node.meta.name)):
            for uid in dict.fromkeys(ref.uid for ref in node.meta.ownerReferences):
                self._owned.setdefault(uid, []).append(node)

    def named(self, kind: Kind, name: str) -> Node:
        """Raises NotFound."""
        found = next((node for node in self._nodes if node.kind is kind and node.meta.name == name), None)
        if found is None:
            raise NotFound.of(kind.resource, name)
        return found

    def tree(self, root: Node) -> list[list[str]]:
        """Rows of the root and of all below it, depth first."""
        return [root.row("", self._now), *self._below(root, "", frozenset((root.meta.uid,)))]

    def _below(self, node: Node, indent: str, above: frozenset[str]) -> list[list[str]]:
        """`above` are the UIDs on the way from the root: a cycle of owners is shown once."""
        children = [child for child in self._owned.get(node.meta.uid, ()) if child.meta.uid not in above]
        rows = []
        for at, child in enumerate(children, 1):
            last = at == len(children)
            rows.append(child.row(indent + ("└─" if last else "├─"), self._now))
            rows += self._below(child, indent + ("  " if last else "│ "), above | {child.meta.uid})
        return rows


def _list(client: Any, kind: Kind, namespace: str) -> list[Node]:
    """Raises Unavailable."""
    from pinnace.api.v1.objects_pb2 import TableOptions

    options = TableOptions(includeObject=TableOptions.METADATA)
    table = Table()
    try:
        for message in client.list_tables(kind, namespace, options):
            table.take(kind, message)
    except Unavailable:
        raise
    except ApiError as error:
        report(f"Warning: {kind.resource} are left out: {error.message}")
    return [Node(kind, table, row) for row in table.rows if row.item is not None]
