"""`kctl node`: how a host joins, and whether a node takes new pods."""

from __future__ import annotations

import json

from cli import flags
from pinnace import kinds


def run(arguments: list[str]) -> int:
    parser = flags.Parser("node", "Nodes: join-command, cordon NAME, uncordon NAME")
    verbs = parser.verbs()
    join = verbs.add_parser("join-command", help="print the line that makes a host a node")
    join.add_argument("--ttl", type=flags.seconds, default=3600.0, help="how long the token lasts (default: 1h)")
    for verb in ("cordon", "uncordon"):
        verbs.add_parser(verb).add_argument("name")
    args = parser.parse_args(arguments)
    client = flags.client(args)
    if args.verb == "join-command":
        from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

        stub = cluster_pb2_grpc.ClusterStub(client.channel)
        answer = client.call(stub.CreateJoinToken, cluster_pb2.JoinTokenRequest(ttlSeconds=int(args.ttl)))
        print(f"pinnace-nodeagent join {answer.endpoint} --token {answer.token} --ca-hash {answer.caHash}")
        return 0
    from cli.client import MANAGER, ref
    from pinnace.api.v1 import objects_pb2

    patch = {"spec": {"unschedulable": args.verb == "cordon"}}
    request = objects_pb2.PatchRequest(
        ref=ref(kinds.NODE, "", args.name),
        type=objects_pb2.PatchRequest.MERGE,
        patch=json.dumps(patch).encode(),
        fieldManager=MANAGER,
    )
    client.call(client.objects.Patch, request)
    print(f"node/{args.name} {args.verb}ed")
    return 0
