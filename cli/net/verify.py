"""`kctl net verify`: what of the kernel's state is not as wanted, on every node."""

from __future__ import annotations

from typing import Any

from cli import nodewise, tables
from cli.counts import count
from cli.net import answers
from cli.progress import Say
from pinnace.errors import Internal

# Seconds that a node has to answer.
WITHIN = 60.0


def run(client: Any, args: Any) -> int:
    """Exit code 0 when nothing differs, or all of it was repaired."""
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
    differing = sum(bool(report.deviations) for report in results.done.values())
    print(summary(len(results.done) - differing, differing, silent=len(results.failed), fixed=args.fix))
    return results.report() or int(differing > 0 and not args.fix)


def summary(clean: int, differing: int, *, silent: int, fixed: bool) -> str:
    """The last line; `silent` nodes sent no report."""
    repaired = f", which {'is' if differing == 1 else 'are'} repaired" if fixed and differing else ""
    unknown = f", {silent} without a report" if silent else ""
    return f"{count(clean, 'node')} as wanted, {differing} with differences{repaired}{unknown}"
