"""`kctl logs`: what containers say, of one pod or many, so far or as they say it."""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from typing import Any

from cli import flags, logreader, podchoice
from cli.loglines import Printer, Source
from cli.pods import choose
from pinnace import kinds
from pinnace.errors import BadRequest

# Lines of each container when many pods are asked for, as kubectl has it; and streams at once.
TAIL_OF_MANY = 10
MAX_REQUESTS = 50


def run(arguments: list[str]) -> int:
    args = _parser().parse_intermixed_args(arguments)
    container = args.container or args.container_
    _check(args, container)
    client = flags.client(args)
    namespace = client.context.namespace
    if args.all_pods:
        args.selector, args.prefix = podchoice.selector_of(client, args.pod), True
    printer = Printer(prefix=args.prefix)
    reader = logreader.LogReader(client, _options(args), printer)
    sources = logreader.Sources(container=container, every=args.all_containers)
    many = logreader.Many(reader, args.max_log_requests)
    if args.selector:
        if args.follow:
            return logreader.follow_selected(client, many, namespace, args.selector, sources)
        return logreader.read_all(client, reader, namespace, args.selector, sources)
    name = podchoice.name_of(client, args.pod, within=podchoice.LOG_WITHIN, tell=True)
    if not args.all_containers and (container or not args.prefix):
        reader.read(Source(namespace, name, choose(client, namespace, name, container)))
        return 0
    for source in sources.of(client.get(kinds.POD, namespace, name)):
        many.add(source) if args.follow else reader.read(source)
    return many.wait()


def _parser() -> flags.Parser:
    parser = flags.Parser("logs", "Print the logs of containers: kctl logs web -f --tail 20, kctl logs -f -l app=web --prefix")
    parser.add_argument("pod", nargs="?", default="", help="pod: NAME, or TYPE/NAME of a pod or a workload")
    parser.add_argument("container_", nargs="?", default="", metavar="container", help="container name, as with -c")
    parser.add_argument(
        "-c", "--container", default="", help="container name (default: the pod's annotated or first container)"
    )
    parser.add_argument(
        "--all-containers", action="store_true", help="all containers of the pod, including init and ephemeral ones"
    )
    parser.add_argument("--all-pods", action="store_true", help="all pods of the workload, each line with its prefix")
    parser.add_argument("-l", "--selector", default="", help="label selector; with -f also for pods created later")
    parser.add_argument("-f", "--follow", action="store_true", help="follow the log, across rotations and restarts")
    parser.add_argument("--prefix", action="store_true", help="prefix each line with pod and container")
    parser.add_argument(
        "--tail", type=flags.between(-1), default=None, help=f"only the last lines (default: all; {TAIL_OF_MANY} with -l)"
    )
    parser.add_argument("--since", type=flags.seconds, default=None, help="maximum age of lines, such as 5m")
    parser.add_argument("--since-time", type=_nanos, default=None, help="earliest time of lines, such as 2026-01-31T12:00:00Z")
    parser.add_argument("-p", "--previous", action="store_true", help="logs of the previous container instance")
    parser.add_argument("--timestamps", action="store_true", help="prefix each line with its time")
    parser.add_argument(
        "--limit-bytes", type=flags.between(0), default=0, help="maximum bytes of each container (default: no limit)"
    )
    parser.add_argument(
        "--max-log-requests",
        type=flags.between(),
        default=MAX_REQUESTS,
        help="maximum containers to follow at once (default: %(default)s)",
    )
    return parser


def _nanos(text: str) -> int:
    """RFC 3339 as nanoseconds since the epoch. Raises argparse.ArgumentTypeError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f'"{text[:40]}" is not a time with its zone, such as 2026-01-31T12:00:00Z')
    return int(moment.timestamp() * 1_000_000) * 1000


def _check(args: Any, container: str) -> None:
    if bool(args.pod) == bool(args.selector):
        raise BadRequest("specify a pod NAME, or -l SELECTOR")
    if args.all_pods and "/" not in args.pod:
        raise BadRequest("--all-pods takes the TYPE/NAME of a workload")
    if args.all_containers and container:
        raise BadRequest("--all-containers and a container name cannot be used together")
    if args.since is not None and args.since_time is not None:
        raise BadRequest("only one of --since and --since-time may be used")
    if args.max_log_requests < 1:
        raise BadRequest("--max-log-requests must be 1 or more")


def _options(args: Any) -> Any:
    from pinnace.api.v1 import streams_pb2

    options = streams_pb2.LogOptions(
        follow=args.follow, previous=args.previous, timestamps=args.timestamps, limitBytes=args.limit_bytes,
        wait=args.follow and (bool(args.selector) or args.all_containers),
    )  # fmt: skip
    tail = args.tail if args.tail is not None else TAIL_OF_MANY if args.selector and not args.all_pods else -1
    if tail >= 0:
        options.tailLines = tail
    if args.since is not None:
        options.sinceNanos = time.time_ns() - int(args.since * 1e9)
    if args.since_time is not None:
        options.sinceNanos = args.since_time
    return options
