"""The check of `kctl doctor` on the cluster of the context: objects that its store cannot serve, and how to get them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli import contexts
from cli.complaints import shown
from cli.findings import Finding
from pinnace.errors import ApiError

# Seconds that a control plane may take to answer, and keys that are listed.
DEADLINE, MOST = 3.0, 10
NAME = "store"


def check(args: Any) -> Finding:
    """`args`: the global flags, which choose the context."""
    try:
        if not contexts.load(contexts.path(args.config))["contexts"] and not args.context:
            return Finding(NAME, "ok", "not checked: no cluster is configured")
        return finding(_answer(args))
    except ApiError as error:
        return Finding(NAME, "warn", shown(f"not checked: {error.message}"))


def _answer(args: Any) -> Any:
    from cli import renewal
    from cli.client import Client
    from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

    client = Client(renewal.fresh(contexts.current(args), contexts.path(args.config)))
    stub = cluster_pb2_grpc.ClusterStub(client.channel)
    return client.call(stub.CheckStore, cluster_pb2.CheckStoreRequest(), timeout=DEADLINE)


def finding(answer: Any) -> Finding:
    """What an answer of CheckStore means."""
    if not answer.objects:
        return Finding(NAME, "ok", "every stored object can be read")
    count = f"{'more than ' if answer.truncated else ''}{len(answer.objects)}"
    listed = ", ".join(f"{item.key} ({item.state.lower()})" for item in answer.objects[:MOST])
    more = f", and {len(answer.objects) - MOST} more" if len(answer.objects) > MOST else ""
    text = f"{count} stored object{'s are' if len(answer.objects) > 1 else ' is'} damaged and not served: {listed}{more}"
    return Finding(NAME, "fail", shown(text), shown(_fix(answer.objects, answer.file)))


def _fix(objects: Sequence[Any], file: str) -> str:
    fix = (
        "kctl apply -f MANIFEST makes an object anew (then kctl delete, if it is not wanted), or restore a backup of the store."
    )
    if any(item.state == "Quarantined" for item in objects):
        fix += f" To give up those in quarantine: stop the control plane and run sqlite3 {file} 'DELETE FROM quarantine'."
    return fix
