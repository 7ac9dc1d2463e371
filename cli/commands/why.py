"""`kctl why`: the scheduler's last decision on a pod, and what each filter and score says of each node now; of a Service,
which of its pods are no endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import flags, serviceendpoints, tables
from cli.complaints import shown
from pinnace import kinds
from pinnace.errors import BadRequest
from pinnace.kinds import Kind
from pinnace.wellknown import LABEL_SERVICE_NAME

if TYPE_CHECKING:
    from cli.client import Client


def run(arguments: list[str]) -> int:
    text = (
        "Explain the scheduler's last decision on a pod, or which pods of a Service are no endpoints: kctl why pod/web, svc/web"
    )
    parser = flags.Parser("why", text)
    parser.add_argument("object", help="NAME or pod/NAME: a pod; service/NAME: a Service")
    args = parser.parse_args(arguments)
    kind, name = _target(args.object)
    client = flags.client(args)
    return _service(client, name) if kind is kinds.SERVICE else _pod(client, name)


def _target(word: str) -> tuple[Kind, str]:
    """Raises BadRequest for a kind that is not explained."""
    text, slash, name = word.rpartition("/")
    kind = kinds.by_word(text) if slash else kinds.POD
    if kind not in (kinds.POD, kinds.SERVICE) or not name:
        raise BadRequest(f"{word}: kctl why explains pods (pod/NAME) and Services (service/NAME)")
    return kind, name


def _service(client: Client, name: str) -> int:
    namespace = client.context.namespace
    service = client.get(kinds.SERVICE, namespace, name)
    slices = client.list(kinds.ENDPOINT_SLICE, namespace, labels=f"{LABEL_SERVICE_NAME}={name}")
    selector = ",".join(f"{key}={value}" for key, value in sorted(service.spec.selector.items()))
    pods = client.list(kinds.POD, namespace, labels=selector) if selector else []
    print(shown("\n".join(serviceendpoints.explain(service, slices, pods))))
    return 0


def _pod(client: Client, name: str) -> int:
    from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

    request = cluster_pb2.WhyRequest(namespace=client.context.namespace, pod=name)
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
