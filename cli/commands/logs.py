"""`kctl logs`: a container's output."""

from __future__ import annotations

import sys
import time

from cli import flags
from cli.carry import raise_exit
from cli.pods import pod_name


def run(arguments: list[str]) -> int:
    parser = flags.Parser("logs", "Print the logs of a container: kctl logs web -f --tail 20")
    parser.add_argument("pod", help="name, or pod/name")
    parser.add_argument("container_", nargs="?", default="", metavar="container")
    parser.add_argument("-c", "--container", default="")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as the container writes")
    parser.add_argument("--tail", type=int, default=-1, help="only the last lines")
    parser.add_argument("--since", type=flags.seconds, default=None, help="only what is newer, such as 5m")
    parser.add_argument("-p", "--previous", action="store_true", help="the run before this one")
    parser.add_argument("--timestamps", action="store_true")
    parser.add_argument("--limit-bytes", type=int, default=0)
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    options = streams_pb2.LogOptions(
        follow=args.follow, previous=args.previous, timestamps=args.timestamps, limitBytes=args.limit_bytes
    )
    if args.tail >= 0:
        options.tailLines = args.tail
    if args.since is not None:
        options.sinceNanos = time.time_ns() - int(args.since * 1e9)
    opening = streams_pb2.OpenStream(
        namespace=client.context.namespace,
        pod=pod_name(args.pod),
        container=args.container or args.container_,
        logs=options,
    )
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    for frame in client.stream(stub.Logs, opening):
        kind = frame.WhichOneof("frame")
        if kind == "stdout":
            sys.stdout.buffer.write(frame.stdout)
            sys.stdout.buffer.flush()
        elif kind == "exit":
            raise_exit(frame.exit)
            return 0
    print("error: the stream ended before the log did", file=sys.stderr)
    return 1
