"""Services from flags. Pure.

Source: kubectl's pkg/cmd/create/create_service.go.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from pinnace import formats, services
from pinnace.errors import BadRequest

_TCP = "PORT[:TARGET] of TCP, comma-separated; TARGET is a number or the name of a container's port (repeatable)"


def add_cluster_ip(parser: Any) -> None:
    parser.add_argument("--tcp", action="append", default=[], metavar="PORT[:TARGET]", help=_TCP)
    parser.add_argument("--clusterip", default="", help="cluster IP, or None for a headless Service (default: an unused one)")


def add_ports(parser: Any) -> None:
    parser.add_argument("--tcp", action="append", default=[], metavar="PORT[:TARGET]", help=_TCP)


def add_node_port(parser: Any) -> None:
    add_ports(parser)
    parser.add_argument("--node-port", type=int, default=0, help="port of each node (default: an unused one)")


def add_external_name(parser: Any) -> None:
    add_ports(parser)
    parser.add_argument("--external-name", required=True, help="DNS name that the Service is an alias of")


def _service(type_: str, args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest."""
    address, alias = getattr(args, "clusterip", ""), getattr(args, "external_name", "")
    ports = [item for word in args.tcp for item in word.split(",")]
    if not ports and address != services.NONE and type_ != services.EXTERNAL_NAME:
        raise BadRequest("at least one tcp port specifier must be provided")
    if type_ == services.EXTERNAL_NAME and formats.dns_subdomain(alias):
        raise BadRequest(f"invalid service external name {alias[:80]}")
    labels = {"app": args.name}
    optional = {
        "ports": [_port(item, getattr(args, "node_port", 0)) for item in ports], "clusterIP": address, "externalName": alias,
    }  # fmt: skip
    spec = {"type": type_, "selector": labels, **{field: value for field, value in optional.items() if value}}
    return {"metadata": {"labels": labels}, "spec": spec}


def _port(text: str, node_port: int) -> dict[str, Any]:
    """`80` or `80:8080` or `80:http`. Raises BadRequest."""
    port, _, target = text.partition(":")
    found = {"name": text.replace(":", "-"), "port": number(port), "targetPort": _target(target or port), "protocol": "TCP"}
    return {**found, **({"nodePort": node_port} if node_port else {})}


def number(text: str) -> int:
    """A port number. Raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not int(text) < 1 << 16:
        raise BadRequest(f'"{text[:40]}" is not a port number')
    return int(text)


def _target(text: str) -> int | str:
    """Raises BadRequest."""
    if text.isascii() and text.isdigit():
        errors = formats.port_number(int(text[:6]))
    else:
        errors = formats.port_name(text)
    if errors:
        raise BadRequest(",".join(errors))
    return int(text) if text.isdigit() else text


cluster_ip, node_port = partial(_service, services.CLUSTER_IP), partial(_service, services.NODE_PORT)
load_balancer, external_name = partial(_service, services.LOAD_BALANCER), partial(_service, services.EXTERNAL_NAME)
