"""`kctl attach`: the standard streams of a container that runs."""

from __future__ import annotations

import sys
from typing import Any

from cli import carry, flags, podchoice
from cli.pods import container_of, note_default
from pinnace import kinds
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("attach", "Attach to a running container: kctl attach -it shell")
    parser.add_argument("pod", help="pod: NAME, or TYPE/NAME of a pod or a workload")
    parser.add_argument(
        "-c", "--container", default="", help="container name (default: the pod's annotated or first container)"
    )
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input to the container")
    parser.add_argument("-t", "--tty", action="store_true", help="standard input is a terminal")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the container's output")
    own, _ = carry.split_command(arguments)
    args = parser.parse_args(own)
    client = flags.client(args)
    pod = client.get(kinds.POD, client.context.namespace, podchoice.name_of(client, args.pod))
    container = container_of(pod, args.container)
    if not args.container and not args.quiet:
        note_default(pod)
    return attach(client, pod, container, stdin=args.stdin, tty=args.tty, quiet=args.quiet)


def attach(client: Any, pod: Any, container: Any, *, stdin: bool, tty: bool, quiet: bool = False) -> int:
    """Until the container ends, or we do. Returns its exit code. Raises ApiError."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    name = pod.metadata.name
    if stdin and not container.stdin:
        raise BadRequest(f"container {container.name} in pod {name} has no standard input (its manifest lacks `stdin: true`)")
    if tty and not container.tty:
        print(f"error: Unable to use a TTY - container {container.name} did not allocate one", file=sys.stderr)
    raw = carry.usable_tty(asked=tty and container.tty and stdin)
    if raw and not quiet:
        print("If you don't see a command prompt, try pressing enter.", file=sys.stderr)
    opening = streams_pb2.OpenStream(namespace=pod.metadata.namespace, pod=name, container=container.name)
    opening.attach.stdin = stdin
    code = carry.carry(client, streams_pb2_grpc.StreamsStub(client.channel).Attach, opening, stdin=stdin, tty=raw)
    if raw and not quiet and pod.spec.restartPolicy == "Always" and container in pod.spec.containers:
        print(
            f"Session ended, resume using 'kctl attach {name} -c {container.name} -i -t' when the pod is running",
            file=sys.stderr,
        )
    return code
