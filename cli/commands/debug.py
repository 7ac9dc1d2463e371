"""`kctl debug`: an ephemeral container of another image in a running pod."""

from __future__ import annotations

import json
import secrets
import sys
from typing import Any

from cli import carry, flags, joining, runpods
from cli.pods import pod_name
from pinnace import kinds, podspec
from pinnace.errors import BadRequest, Conflict

# Kubernetes' alphabet for generated names.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def run(arguments: list[str]) -> int:
    parser = flags.Parser("debug", "Debug a running pod: kctl debug -it web --image=busybox --target=main -- sh")
    parser.add_argument("pod", help="pod: NAME or pod/NAME")
    parser.add_argument("--image", required=True, help="image of the debugging container")
    parser.add_argument("--target", default="", help="container whose processes are visible to the debugging one")
    parser.add_argument(
        "-c", "--container", default="", help="name of the debugging container (default: debugger- and five characters)"
    )
    parser.add_argument(
        "--image-pull-policy", default="", choices=("", "Always", "IfNotPresent", "Never"), help="when to pull the image"
    )
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="environment variable (repeatable)")
    parser.add_argument(
        "--arguments-only", action="store_true", help="use the words after -- as arguments of the image's entrypoint"
    )
    parser.add_argument("-i", "--stdin", action="store_true", help="attach, and pass standard input to the container")
    parser.add_argument("-t", "--tty", action="store_true", help="allocate a terminal")
    parser.add_argument("--attach", action="store_true", help="attach even without standard input")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the container's output")
    own, command = carry.split_command(arguments)
    args = parser.parse_args(own)
    if args.pod.startswith("node/"):
        raise BadRequest("only pods can be debugged; log in to the host to debug a node")
    client = flags.client(args)
    name = args.container or "debugger-" + "".join(secrets.choice(_ALPHABET) for _ in range(5))
    pod = _add(client, pod_name(args.pod), container(name, command, args))
    if not args.container and not args.quiet:
        print(f"Defaulting debug container name to {name}.", file=sys.stderr)
    if not args.stdin and not args.attach:
        shown = pod.metadata.name
        print(f"Attach: kctl attach {shown} -c {name}; output: kctl logs {shown} -c {name}")
        return 0
    return joining.join(client, pod, name, stdin=args.stdin, tty=args.tty, quiet=args.quiet)


def container(name: str, command: list[str], args: Any) -> dict[str, Any]:
    """The ephemeral container, as in a manifest. Raises BadRequest."""
    value: dict[str, Any] = {"name": name, "image": args.image, "stdin": args.stdin, "tty": args.tty}
    # A terminal can be come back to; what is piped in is piped in once, and its end must reach the program.
    value["stdinOnce"] = args.stdin and not args.tty
    if command:
        value["args" if args.arguments_only else "command"] = command
    if args.target:
        value["targetContainerName"] = args.target
    if args.image_pull_policy:
        value["imagePullPolicy"] = args.image_pull_policy
    if args.env:
        value["env"] = runpods.env(args.env)
    return value


def _add(client: Any, name: str, value: dict[str, Any]) -> Any:
    """The pod with the container. Raises ApiError."""
    from cli.client import manager, opened, ref
    from pinnace.api.v1 import objects_pb2

    pod = client.get(kinds.POD, client.context.namespace, name)
    if value["name"] in podspec.names(pod):
        raise Conflict(f"pod {name} has a container named {value['name']} already")
    request = objects_pb2.PatchRequest(
        ref=ref(kinds.POD, client.context.namespace, name), type="STRATEGIC", fieldManager=manager("debug"),
        subresource="ephemeralcontainers",
        patch=json.dumps({"spec": {"ephemeralContainers": [value]}}).encode(),
    )  # fmt: skip
    return opened(kinds.POD, client.call(client.objects.Patch, request).protobuf)
