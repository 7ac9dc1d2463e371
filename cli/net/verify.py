"""`kctl net verify`: what of the kernel's state is not as wanted, on every node."""

from __future__ import annotations

from typing import Any

from cli import complaints, nodewise, tables
from cli.counts import count
from cli.net import answers
from cli.progress import Say
from pinnace.errors import Internal

# Seconds that a node has to answer.
WITHIN = 60.0


def run(client: Any, args: Any) -> int:
    """Exit code 0 when nothing differs, or all of it was repaired, and no node has a problem."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    stub = streams_pb2_grpc.StreamsStub(client.channel)

    def one(node: str, say: Say) -> Any:
        opening = streams_pb2.OpenStream(node=node, verifyNetwork=streams_pb2.VerifyNetworkOptions(fix=args.fix))
        for frame in answers.frames(client, stub.VerifyNetwork, opening, timeout=WITHIN):
            if frame.WhichOneof("frame") == "networkReport":
                return frame.networkReport
        raise Internal("the node sent no report")

    nodes = nodewise.names(client, args.node)
    results = nodewise.everywhere(nodes, "verifying", one)
    rows = [["NODE", "KIND", "ITEM", "WANTED", "ACTUAL"]]
    for node, report in sorted(results.done.items()):
        rows += [[node, d.kind, d.item, d.wanted or "<none>", d.actual or "<none>"] for d in report.deviations]
    if len(rows) > 1:
        print(tables.render(rows))
    for node, report in sorted(results.done.items()):
        if report.omitted:
            print(f"{node}: {count(report.omitted, 'more difference')}")
    reports = results.done.values()
    differing, troubled = sum(bool(i.deviations) for i in reports), sum(bool(i.problems) for i in reports)
    repaired = sum(bool(i.deviations) and i.fixed for i in reports)
    clean = sum(not i.deviations and not i.problems for i in reports)
    print(summary(clean, differing, troubled=troubled, silent=len(results.failed), repaired=repaired))
    for node, item in sorted(results.done.items()):
        for problem in item.problems:
            complaints.report(f"error: node {node}: {problem}")
    return results.report() or int(troubled > 0 or differing > repaired)


def summary(clean: int, differing: int, *, troubled: int = 0, silent: int, repaired: int = 0) -> str:
    """The last line: of `differing` nodes `repaired` ones have none left, `troubled` ones have problems that are not repaired,
    and `silent` ones sent no report."""
    which = "which" if repaired == differing else f"{repaired} of which"
    fixed = f", {which} {'is' if repaired == 1 else 'are'} repaired" if repaired else ""
    problems = f", {troubled} with problems" if troubled else ""
    unknown = f", {silent} without a report" if silent else ""
    return f"{count(clean, 'node')} as wanted, {differing} with differences{fixed}{problems}{unknown}"
