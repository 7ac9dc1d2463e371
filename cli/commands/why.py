"""`kctl why`: the scheduler's last decision on a pod, and what each filter and score says of each node now."""

from __future__ import annotations

from cli import flags, tables
from cli.complaints import shown
from cli.pods import pod_name


def run(arguments: list[str]) -> int:
    parser = flags.Parser("why", "Explain the scheduler's last decision, with each node as it is now: kctl why pod/web")
    parser.add_argument("pod", help="pod: NAME or pod/NAME")
    args = parser.parse_args(arguments)
    client = flags.client(args)
    from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

    request = cluster_pb2.WhyRequest(namespace=client.context.namespace, pod=pod_name(args.pod))
    answer = client.call(cluster_pb2_grpc.ClusterStub(client.channel).Why, request)
    tries = f" (attempt {answer.attempts})" if answer.attempts else ""
    placed = f"pod/{request.pod} runs on {answer.node}{tries}" + (f"\n{answer.message}" if answer.message else "")
    print(shown(placed if answer.node else f"pod/{request.pod} is pending{tries}: {answer.message}"))
    if not answer.verdicts:
        return 0
    plugins = sorted({name for verdict in answer.verdicts for name in verdict.scores})
    rows = [["NODE", *(name.upper() for name in plugins), "TOTAL", "REJECTED FOR"]]
    ordered = sorted(answer.verdicts, key=lambda v: (-sum(v.scores.values()) if v.scores else 1, v.node))
    for verdict in ordered:
        scores = [f"{verdict.scores[name]:g}" if name in verdict.scores else "-" for name in plugins]
        total = f"{sum(verdict.scores.values()):g}" if verdict.scores else "-"
        rows.append([verdict.node, *scores, total, "; ".join(verdict.reasons)])
    print(tables.render(rows))
    return 0
