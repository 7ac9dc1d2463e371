"""`kctl net capture`: a pod's packets as a pcap file."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, BinaryIO

from cli import podchoice
from cli.complaints import report
from cli.flags import MAX_UINT32
from cli.net import answers
from pinnace.errors import BadRequest

# Of a file in the format's own header, and of each packet.
_HEADER, _RECORD = 24, 16


def run(client: Any, args: Any) -> int:
    """Until the capture's limits, or Ctrl-C, which leaves a whole file."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    options = streams_pb2.CaptureOptions(
        host=args.host, port=args.port, packets=args.count, bytes=args.max_bytes, millis=_millis(args.duration),
        snapLength=args.snaplen,
    )  # fmt: skip
    if args.write == "-" and sys.stdout.isatty():
        raise BadRequest("cannot write a pcap file to a terminal: add -w FILE, or a pipe such as | tcpdump -r -")
    pod = podchoice.name_of(client, args.pod, tell=True)
    opening = streams_pb2.OpenStream(namespace=client.context.namespace, pod=pod, capture=options)
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    with contextlib.ExitStack() as stack:
        out: BinaryIO | None = None
        total = 0
        try:
            with contextlib.suppress(KeyboardInterrupt):
                for frame in answers.frames(client, stub.Capture, opening, timeout=None):
                    kind = frame.WhichOneof("frame")
                    if kind == "progress":
                        report(frame.progress)
                    elif kind == "stdout":
                        # Not before: a capture that the node refuses leaves an earlier file as it is.
                        out = out or _opened(args.write, stack)
                        total += out.write(frame.stdout)
                        out.flush()
        finally:
            # Also before the error that it ends with.
            if total:
                report(f"captured {total} bytes{'' if args.write == '-' else f' to {args.write}'}")
    return 0


def _millis(seconds: float) -> int:
    """At least one, as 0 is no limit; the node has one of its own."""
    return min(max(int(seconds * 1000), 1), MAX_UINT32) if seconds else 0


def _opened(path: str, stack: contextlib.ExitStack) -> BinaryIO:
    """A file for the user alone: packets may hold secrets."""
    if path == "-":
        return sys.stdout.buffer
    # Not O_EXCL: as tcpdump does, an earlier file is replaced.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    return stack.enter_context(os.fdopen(descriptor, "wb"))
