"""`kctl net`: verify, trace, capture."""

from __future__ import annotations

import argparse
from typing import Any

from cli import flags, nodewise


def run(arguments: list[str]) -> int:
    parser = flags.Parser("net", "Verify nodes' networks, trace packets, capture pods' packets")
    verbs = parser.verbs()
    _add_verify(verbs)
    _add_capture(verbs)
    _add_trace(verbs)
    args = parser.parse_args(arguments)
    if args.verb == "trace":
        from cli.net import trace as tracing

        return tracing.run(flags.client(args), args)
    if args.verb == "capture":
        from cli.net import capture as capturing

        return capturing.run(flags.client(args), args)
    from cli.net import verify as verifying

    return verifying.run(flags.client(args), args)


def _add_verify(verbs: Any) -> None:
    verify = verbs.add_parser("verify", help="compare the kernel's state with the desired one, on every node")
    verify.add_argument("--fix", action="store_true", help="repair the differences")
    nodewise.add_flag(verify)


def _add_capture(verbs: Any) -> None:
    capture = verbs.add_parser("capture", help="write a pod's packets as a pcap file: -w web.pcap --port 80")
    capture.add_argument("pod", metavar="POD", help="pod, or TYPE/NAME of a workload or a Service: one of its pods")
    capture.add_argument("-w", "--write", default="-", metavar="FILE", help="file to write (default: standard output)")
    capture.add_argument("--host", default="", help="only packets from or to this IP address")
    capture.add_argument(
        "--port", type=flags.between(0, flags.MAX_PORT), default=0, help="only TCP, UDP and SCTP packets from or to this port"
    )
    capture.add_argument(
        "-c", "--count", type=flags.between(0, flags.MAX_UINT32), default=0, metavar="PACKETS", help="end after so many packets"
    )
    capture.add_argument("--duration", type=_duration, default=0.0, help="end after this time (default: 1h)")
    capture.add_argument(
        "--max-bytes", type=flags.between(0), default=0, metavar="BYTES", help="end after so many bytes (default: 256 MiB)"
    )
    capture.add_argument(
        "-s",
        "--snaplen",
        type=flags.between(0, flags.MAX_UINT32),
        default=0,
        metavar="BYTES",
        help="bytes of each packet (default: all)",
    )


def _add_trace(verbs: Any) -> None:
    trace = verbs.add_parser("trace", help="follow a packet from a pod: kctl net trace web service/db:5432")
    trace.add_argument("pod", metavar="POD", help="sender: a pod, or TYPE/NAME of a workload or a Service: one of its pods")
    trace.add_argument(
        "target",
        metavar="POD|SERVICE|ADDRESS[:PORT]",
        help="receiver (pod/NAME, service/NAME); PORT is a number or a name; without a port an echo request",
    )
    trace.add_argument("--target-namespace", default="", metavar="NAMESPACE", help="the receiver's (default: the sender's)")
    trace.add_argument(
        "--protocol", choices=("tcp", "udp", "sctp", "icmp"), default="", help="protocol (default: that of the port)"
    )
    trace.add_argument(
        "--wait",
        type=flags.seconds,
        default=2.0,
        metavar="DURATION",
        help="time for packets to arrive (default: 2s; at most 8s)",
    )


def _duration(text: str) -> float:
    """Raises argparse.ArgumentTypeError."""
    found = flags.seconds(text)
    if found < 0:
        raise argparse.ArgumentTypeError(f'"{text}" is negative')
    return found
