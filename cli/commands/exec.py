"""`kctl exec`: a command in a container, with a terminal when asked, and its exit code."""

from __future__ import annotations

from cli import carry, flags
from cli.pods import pod_name
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("exec", "Run a command in a container: kctl exec -it web -- sh")
    parser.add_argument("pod", help="name, or pod/name")
    parser.add_argument("-c", "--container", default="", help="its name (default: the pod's first, or the annotated one)")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input")
    parser.add_argument("-t", "--tty", action="store_true", help="with a terminal")
    parser.usage = "kctl exec [-h] [-n NAMESPACE] [-c CONTAINER] [-i] [-t] POD -- COMMAND [ARGUMENT...]"
    own, command = carry.split_command(arguments)
    args, more = parser.parse_known_args(own)
    command = [*more, *command]
    if not command:
        raise BadRequest("you must specify at least one command for the container: kctl exec POD -- COMMAND")
    tty = carry.usable_tty(asked=args.tty)
    client = flags.client(args)
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    opening = streams_pb2.OpenStream(namespace=client.context.namespace, pod=pod_name(args.pod), container=args.container)
    opening.exec.command.extend(command)
    opening.exec.stdin, opening.exec.tty = args.stdin, tty
    return carry.carry(client, streams_pb2_grpc.StreamsStub(client.channel).Exec, opening, stdin=args.stdin, tty=tty)
