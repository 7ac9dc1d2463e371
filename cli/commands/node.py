"""`kctl node`: how a host joins, and whether a node takes new pods."""

from __future__ import annotations

from cli import flags


def run(arguments: list[str]) -> int:
    parser = flags.Parser("node", "Nodes: join-command, cordon NAME, uncordon NAME")
    verbs = parser.verbs()
    join = verbs.add_parser("join-command", help="print the command that joins a host as a node")
    name = "the only node that may join with it; it may exist, unless it is Ready (default: any new node)"
    join.add_argument("node", nargs="?", default="", metavar="NODE", help=name)
    join.add_argument("--ttl", type=flags.seconds, default=3600.0, help="lifetime of the token (default: 1h)")
    for verb, text in (("cordon", "mark a node as unschedulable"), ("uncordon", "mark a node as schedulable")):
        verbs.add_parser(verb, help=text).add_argument("name", help="name of the node")
    args = parser.parse_args(arguments)
    client = flags.client(args)
    if args.verb == "join-command":
        from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

        stub = cluster_pb2_grpc.ClusterStub(client.channel)
        # Zero would mean the default.
        ttl = int(args.ttl) or -1
        answer = client.call(stub.CreateJoinToken, cluster_pb2.JoinTokenRequest(ttlSeconds=ttl, node=args.node))
        # Through a pipe: every user of a host can read the command lines of its processes.
        name = f" --node-name {args.node}" if args.node else ""
        print(f"echo {answer.token} | pinnace-nodeagent join {answer.endpoint} --token-file - --ca-hash {answer.caHash}{name}")
        return 0
    from cli import cordoning

    args.nodes, args.selector, args.dry_run = [args.name], "", "none"
    return 1 if cordoning.set_all(client, cordoning.nodes(client, args), args, unschedulable=args.verb == "cordon") else 0
