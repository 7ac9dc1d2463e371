"""`kctl top`: what nodes and pods use at this moment."""

from __future__ import annotations

import sys
from typing import Any

from cli import flags, nodewise, tables
from cli.progress import Say
from pinnace import kinds, quantity, usage
from pinnace.errors import BadRequest, NotFound
from pinnace.usage import Use

# Seconds that a node has to answer.
WITHIN = 8.0
SORTS = ("cpu", "memory")


def run(arguments: list[str]) -> int:
    parser = flags.Parser("top", "Show CPU and memory usage: kctl top pod -A --sort-by=memory")
    verbs = parser.verbs()
    for names, text in (
        (("node", "nodes", "no"), "CPU and memory usage of nodes"),
        (("pod", "pods", "po"), "CPU and memory usage of pods"),
    ):
        verb = verbs.add_parser(names[0], aliases=names[1:], help=text, description=f"Show {text}")
        verb.add_argument("name", nargs="?", default="", help="name of one (default: all)")
        verb.add_argument("-l", "--selector", default="", help="label selector")
        verb.add_argument("--sort-by", choices=SORTS, default="", help="sort by CPU or memory, largest first")
        verb.add_argument("--no-headers", action="store_true", help="print no header line")
        verb.set_defaults(run=_nodes if names[0] == "node" else _pods)
        if names[0] == "pod":
            verb.add_argument("-A", "--all-namespaces", action="store_true", help="use all namespaces")
            verb.add_argument("--containers", action="store_true", help="one line for each container")
    args = parser.parse_args(arguments)
    return int(args.run(flags.client(args), args))


def _ask(client: Any, nodes: list[str]) -> nodewise.Results[Any]:
    """Statistics by node, all asked at once."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    stub = streams_pb2_grpc.StreamsStub(client.channel)

    def one(node: str, say: Say) -> Any:
        opening = streams_pb2.OpenStream(node=node, stats=streams_pb2.StatsOptions(windowMillis=usage.WINDOW))
        for frame in client.stream(stub.Stats, opening, timeout=WITHIN):
            if frame.WhichOneof("frame") == "stats":
                return frame.stats
        raise BadRequest("the node sent no statistics")

    return nodewise.everywhere(nodes, "asking for statistics", one)


def _nodes(client: Any, args: Any) -> int:
    nodes = client.list(kinds.NODE, "", labels=args.selector)
    nodes = [node for node in nodes if args.name in ("", node.metadata.name)]
    if not nodes:
        raise NotFound(f'nodes "{args.name}" not found') if args.name else NotFound("no node matches")
    results = _ask(client, [node.metadata.name for node in nodes])
    found = {name: usage.of(stats) for name, stats in results.done.items()}
    rows = [["NAME", "CPU(cores)", "CPU%", "MEMORY(bytes)", "MEMORY%"]]
    for node in sorted(nodes, key=lambda node: _order(args.sort_by, found.get(node.metadata.name), node.metadata.name)):
        use = found.get(node.metadata.name)
        rows.append([node.metadata.name, *(_shares(use, node) if use is not None else ["<unknown>"] * 4)])
    print(tables.render(rows[1:] if args.no_headers else rows))
    return results.report()


def _cells(use: Use) -> list[str]:
    """Millicores, rounded up, and mebibytes."""
    return [f"{-(-use.cpu // 1_000_000)}m", f"{use.memory >> 20}Mi"]


def _shares(use: Use, node: Any) -> list[str]:
    """Cells of a node, with percentages of what is allocatable, as kubectl's."""
    allocatable = node.status.allocatable
    cpu = quantity.milli(allocatable["cpu"].string) if "cpu" in allocatable else 0
    memory = quantity.units(allocatable["memory"].string) if "memory" in allocatable else 0
    cells = _cells(use)
    return [cells[0], _percent(use.cpu, cpu * 1_000_000), cells[1], _percent(use.memory, memory)]


def _percent(part: int, whole: int) -> str:
    return f"{part * 100 // whole}%" if whole else "<unknown>"


def _order(by: str, use: Use | None, *names: str) -> tuple[Any, ...]:
    """Largest first by a column, or by name; what is unknown last."""
    amount = 0 if use is None or not by else -getattr(use, by)
    return (use is None, amount, *names) if by else names


def _pods(client: Any, args: Any) -> int:
    namespace = "" if args.all_namespaces else client.context.namespace
    pods = client.list(kinds.POD, namespace, labels=args.selector)
    pods = [pod for pod in pods if args.name in ("", pod.metadata.name)]
    if args.name and not pods:
        raise NotFound(f'pods "{args.name}" not found')
    pods = [pod for pod in pods if pod.spec.nodeName and pod.status.phase == "Running"]
    wanted = {(pod.metadata.namespace, pod.metadata.name) for pod in pods}
    results = _ask(client, sorted({pod.spec.nodeName for pod in pods}))
    found = [item for stats in results.done.values() for item in stats.pods if (item.namespace, item.name) in wanted]
    lines = [line for item in found for line in _lines(item, args)]
    if not lines:
        print(f"No resources found{'' if args.all_namespaces else f' in {namespace} namespace'}.", file=sys.stderr)
        return results.report()
    lines.sort(key=lambda line: _order(args.sort_by, line[1], *line[0]))
    head = ["NAMESPACE", "POD" if args.containers else "NAME", *(["NAME"] if args.containers else [])]
    rows = [[*head, "CPU(cores)", "MEMORY(bytes)"], *([*names, *_cells(use)] for names, use in lines)]
    shown = [row if args.all_namespaces else row[1:] for row in rows]
    print(tables.render(shown[1:] if args.no_headers else shown))
    return results.report()


def _lines(pod: Any, args: Any) -> list[tuple[list[str], Use]]:
    each = [(c.name, usage.of(c)) for c in pod.containers]
    if args.containers:
        return [([pod.namespace, pod.name, name], use) for name, use in each]
    return [([pod.namespace, pod.name], usage.total(use for _, use in each))]
