"""The Service that `kctl expose` makes of an object: selector, ports and labels of it, unless flags state them. Pure.

Source: kubectl's pkg/cmd/expose, and mapbasedselectorforobject.go, portsforobject.go and multiprotocolsforobject.go of its
pkg/polymorphichelpers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import kinds, services
from pinnace.errors import BadRequest
from pinnace.kinds import Kind

KINDS = (kinds.REPLICATION_CONTROLLER, kinds.SERVICE, kinds.POD, kinds.DEPLOYMENT, kinds.REPLICA_SET)
_AFFINITIES = (services.NONE, services.CLIENT_IP)
_NO_PORT = "couldn't find port via --port flag or introspection"
# Longest name of a Service.
MAX_NAME = 63


def manifest(kind: Kind, item: Any, args: Any) -> dict[str, Any]:
    """Raises BadRequest."""
    if kind not in KINDS:
        raise BadRequest(f"cannot expose a {kind.group_kind}")
    selector = _labels(args.selector) if args.selector else _selector(kind, item)
    meta: dict[str, Any] = {"name": args.name or item.metadata.name[:MAX_NAME]}
    if labels := _labels(args.labels) if args.labels else dict(item.metadata.labels):
        meta["labels"] = labels
    spec: dict[str, Any] = {"selector": selector, "ports": list(_ports(kind, item, args))}
    if args.session_affinity and args.session_affinity not in _AFFINITIES:
        raise BadRequest(f"unknown session affinity: {args.session_affinity[:80]}")
    optional = {
        "externalIPs": [args.external_ip] if args.external_ip else [], "type": args.type, "clusterIP": args.cluster_ip,
        "sessionAffinity": args.session_affinity,
        "loadBalancerIP": args.load_balancer_ip if args.type == services.LOAD_BALANCER else "",
    }  # fmt: skip
    return {"metadata": meta, "spec": {**spec, **{field: value for field, value in optional.items() if value}}}


def _labels(text: str) -> dict[str, str]:
    """`a=b,c=d`. Raises BadRequest."""
    found = {}
    for pair in text.split(","):
        key, sign, value = pair.partition("=")
        if not (key and sign) or "=" in value:
            raise BadRequest(f"unexpected label spec: {pair[:80]}")
        found[key] = value
    return found


def _selector(kind: Kind, item: Any) -> dict[str, str]:
    """Raises BadRequest."""
    intro = "couldn't retrieve selectors via --selector flag or introspection: "
    if kind is kinds.POD:
        found, error = item.metadata.labels, "the pod has no labels and cannot be exposed"
    elif kind is kinds.SERVICE:
        found, error = item.spec.selector, "the service has no pod selector set"
    elif kind is kinds.REPLICATION_CONTROLLER:
        found, error = item.spec.selector, "the replication controller has no selector"
    else:
        found, error = item.spec.selector.matchLabels, f"invalid {kind.singular}: no selectors, therefore cannot be exposed"
        if item.spec.selector.matchExpressions:
            raise BadRequest(f"{intro}couldn't convert expressions to map-based selector format")
    if not found:
        raise BadRequest(intro + error)
    return dict(found)


def _ports(kind: Kind, item: Any, args: Any) -> Iterator[dict[str, Any]]:
    """Raises BadRequest."""
    protocols = _protocols(kind, item)
    numbers = args.port.split(",") if args.port else [str(port) for port in protocols]
    if not numbers and args.cluster_ip != services.NONE:
        raise BadRequest(_NO_PORT)
    for index, text in enumerate(numbers, 1):
        port = _number(text)
        own = protocols.get(port, ["TCP"])
        used = [args.protocol] if args.protocol else own
        for protocol in used:
            named = f"port-{index}-{protocol.lower()}" if len(used) > 1 else f"port-{index}" if len(numbers) > 1 else ""
            yield {**({"name": named} if named else {}), "port": port, "protocol": protocol, "targetPort": _target(args, port)}


def _number(text: str) -> int:
    """Raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise BadRequest(f'"{text[:40]}" is not a port number')
    return int(text)


def _target(args: Any, port: int) -> int | str:
    text: str = args.target_port
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or port


def _protocols(kind: Kind, item: Any) -> dict[int, list[str]]:
    """Protocols of each port, in the order of the object."""
    if kind is kinds.SERVICE:
        pairs = [(port.port, port.protocol) for port in item.spec.ports]
    else:
        spec = item.spec if kind is kinds.POD else item.spec.template.spec
        pairs = [(port.containerPort, port.protocol) for container in spec.containers for port in container.ports]
    found: dict[int, list[str]] = {}
    for port, protocol in pairs:
        known = found.setdefault(port, [])
        if (protocol or "TCP") not in known:
            known.append(protocol or "TCP")
    return found
