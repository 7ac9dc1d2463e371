"""`kctl exec`: a command in a container, with a terminal when asked, and its exit code."""

from __future__ import annotations

from cli import carry, flags, podchoice
from cli.pods import choose
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("exec", "Run a command in a container: kctl exec -it web -- sh")
    parser.add_argument("pod", help="pod: NAME, or TYPE/NAME of a pod or a workload")
    parser.add_argument(
        "-c", "--container", default="", help="container name (default: the pod's annotated or first container)"
    )
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input to the container")
    parser.add_argument("-t", "--tty", action="store_true", help="allocate a terminal")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the output of the command")
    parser.usage = "kctl exec [-h] [-n NAMESPACE] [-c CONTAINER] [-i] [-t] [-q] POD -- COMMAND [ARGUMENT...]"
    own, command = carry.split_command(arguments)
    args, more = parser.parse_known_args(own)
    command = [*more, *command]
    if not command:
        raise BadRequest("you must specify at least one command for the container: kctl exec POD -- COMMAND")
    tty = carry.usable_tty(asked=args.tty)
    client = flags.client(args)
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    namespace, pod = client.context.namespace, podchoice.name_of(client, args.pod)
    container = choose(client, namespace, pod, args.container, quiet=args.quiet)
    opening = streams_pb2.OpenStream(namespace=namespace, pod=pod, container=container)
    opening.exec.command.extend(command)
    opening.exec.stdin, opening.exec.tty = args.stdin, tty
    return carry.carry(client, streams_pb2_grpc.StreamsStub(client.channel).Exec, opening, stdin=args.stdin, tty=tty)
