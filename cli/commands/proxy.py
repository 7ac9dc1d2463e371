"""`kctl proxy`: the REST API on a port of this machine, without credentials, for browsers, curl and scripts."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

from cli import flags
from pinnace.errors import BadRequest

_LIST = "comma-separated regular expressions of %s (default: %%(default)s)"


def run(arguments: list[str]) -> int:
    from cli import localproxy, rawrequest

    parser = flags.Parser("proxy", "Serve the REST API on a local port: kctl proxy --port=8001")
    parser.add_argument(
        "-p",
        "--port",
        type=flags.between(0, flags.MAX_PORT),
        default=8001,
        help="port to listen on; 0: any (default: %(default)s)",
    )
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--accept-hosts", default=localproxy.ACCEPT_HOSTS, help=_LIST % "Host and Origin headers to accept")
    parser.add_argument("--accept-paths", default=localproxy.ACCEPT_PATHS, help=_LIST % "paths to accept")
    parser.add_argument("--reject-paths", default=localproxy.REJECT_PATHS, help=_LIST % "paths to reject")
    parser.add_argument("--reject-methods", default=localproxy.REJECT_METHODS, help=_LIST % "methods to reject")
    parser.add_argument(
        "--disable-filter", action="store_true", help="accept every request, also cross-origin ones of browsers"
    )
    args = parser.parse_args(arguments)
    client = flags.client(args)
    if args.disable_filter:
        print("warning: the filter is disabled: any web page in a browser here can use the API", file=sys.stderr)
    accepted = None if args.disable_filter else _filter(args)
    # Here, where an API that cannot be reached is an error of the command instead of every request.
    rawrequest.get(client.context, "/version", lambda data: None)
    try:
        asyncio.run(
            _serve(
                localproxy.LocalProxy(rawrequest.server(client.context), rawrequest.Tls(client.fresh).context, accepted), args
            )
        )
    except KeyboardInterrupt:
        return 130
    return 0


def _filter(args: Any) -> Any:
    """Raises BadRequest."""
    from cli.localproxy import Filter, patterns

    try:
        return Filter(
            *(patterns(item) for item in (args.accept_hosts, args.accept_paths, args.reject_paths, args.reject_methods))
        )
    except re.error as error:
        raise BadRequest(f'"{error.pattern!s}" is not a regular expression: {error}') from None


async def _serve(proxy: Any, args: Any) -> None:
    """Until cancelled. Raises BadRequest."""
    try:
        server = await asyncio.start_server(proxy.handle, args.address, args.port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadRequest(f"unable to listen on port {args.port} of {args.address}: {reason}") from None
    host, port = server.sockets[0].getsockname()[:2]
    print(f"Starting to serve on {f'[{host}]' if ':' in host else host}:{port}", flush=True)
    async with server:
        await server.serve_forever()
