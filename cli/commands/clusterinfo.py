"""`kctl cluster-info`: where the control plane is, after it has answered."""

from __future__ import annotations

from cli import flags


def run(arguments: list[str]) -> int:
    parser = flags.Parser("cluster-info", "Print the addresses of the control plane")
    args = parser.parse_args(arguments)
    client = flags.client(args)
    from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

    client.call(cluster_pb2_grpc.ClusterStub(client.channel).Version, cluster_pb2.VersionRequest())
    context = client.context
    if context.rest:
        print(f"Kubernetes control plane is running at {context.rest}")
    print(f"{'Its gRPC API' if context.rest else 'Control plane'} is running at {context.server}")
    return 0
