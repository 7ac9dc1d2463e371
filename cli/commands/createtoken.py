"""`kctl create token`: a token of a service account, on standard output."""

from __future__ import annotations

from cli import flags, output, reviewing
from pinnace import kinds
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("create token", "Print a new token of a service account: kctl create token NAME")
    parser.add_argument("name", help="name of the service account")
    parser.add_argument("--duration", type=flags.seconds, default=None, metavar="DURATION",
                        help="lifetime, at least 10m (default: 1h)")  # fmt: skip
    parser.add_argument("--audience", action="append", default=[], help="audience of the token (repeatable; default: the API)")
    parser.add_argument("--bound-object-kind", default="", metavar="KIND", help="Pod, Secret or Node that the token ends with")
    parser.add_argument("--bound-object-name", default="", metavar="NAME", help="name of that object")
    parser.add_argument("--bound-object-uid", default="", metavar="UID", help="UID of that object")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    if bool(args.bound_object_kind) != bool(args.bound_object_name):
        raise BadRequest("--bound-object-kind and --bound-object-name must be set together")
    if args.bound_object_uid and not args.bound_object_name:
        raise BadRequest("--bound-object-uid needs --bound-object-kind and --bound-object-name")
    client = flags.client(args)
    request = TokenRequest()
    request.metadata.name, request.metadata.namespace = args.name, client.context.namespace
    request.spec.audiences.extend(args.audience)
    if args.duration is not None:
        request.spec.expirationSeconds = int(args.duration)
    if args.bound_object_kind:
        ref = request.spec.boundObjectRef
        ref.apiVersion, ref.kind, ref.name, ref.uid = (
            "v1",
            args.bound_object_kind,
            args.bound_object_name,
            args.bound_object_uid,
        )
    answer = reviewing.ask(client, kinds.TOKEN_REQUEST, request)
    if args.output:
        print(output.structured(args.output, [output.document(kinds.TOKEN_REQUEST, answer)], single=True), end="")
    else:
        print(answer.status.token)
    return 0
