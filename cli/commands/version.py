"""`kctl version`."""

from __future__ import annotations

import sys

from cli import flags
from pinnace import __version__
from pinnace.errors import ApiError


def run(arguments: list[str]) -> int:
    parser = flags.Parser("version", "Versions of kctl and the control plane")
    parser.add_argument("--client", action="store_true", help="kctl's only")
    args = parser.parse_args(arguments)
    print(f"Client Version: v{__version__}")
    if args.client:
        return 0
    try:
        client = flags.client(args)
        from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

        answer = client.call(cluster_pb2_grpc.ClusterStub(client.channel).Version, cluster_pb2.VersionRequest(), timeout=5.0)
    except ApiError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    print(f"Server Version: v{answer.version} (store: {answer.store})")
    return 0
