"""`kctl version`."""

from __future__ import annotations

from cli import flags
from cli.complaints import report, shown
from pinnace import __version__
from pinnace.errors import ApiError


def run(arguments: list[str]) -> int:
    parser = flags.Parser("version", "Print the versions of kctl and the control plane")
    parser.add_argument("--client", action="store_true", help="print only kctl's version")
    args = parser.parse_args(arguments)
    print(f"Client Version: v{__version__}")
    if args.client:
        return 0
    try:
        client = flags.client(args)
        from pinnace.api.v1 import cluster_pb2, cluster_pb2_grpc

        answer = client.call(cluster_pb2_grpc.ClusterStub(client.channel).Version, cluster_pb2.VersionRequest(), timeout=5.0)
    except ApiError as error:
        report(f"error: {error.message}")
        return 1
    print(shown(f"Server Version: v{answer.version} (store: {answer.store})"))
    return 0
