"""NetworkPolicies, Ingresses and IngressClasses as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describeNetworkPolicy, describeIngressV1 and describeIngressClassV1 of kubectl's pkg/describe.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cli.describing import endpoints
from cli.describing.templates import NONE, annotation_lines, pairs
from pinnace import kinds, labelselectors
from pinnace.errors import ApiError
from pinnace.kinds import Kind
from pinnace.policypeers import EGRESS, INGRESS, Rule
from pinnace.policypeers import rules as rules_of

_RULE = " " * 4


def network_policy(client: Any, kind: Kind, item: Any) -> list[str]:
    meta = item.metadata
    created = datetime.fromtimestamp(meta.creationTimestamp.seconds, UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
    every = "<none> (Allowing the specific traffic to all pods in this namespace)"
    return [
        f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", f"Created on:\t{created}", *pairs("Labels", meta.labels),
        *annotation_lines("Annotations", meta.annotations), "Spec:",
        f"  PodSelector:     {labelselectors.text(item.spec.podSelector) or every}",
        *_direction(item, INGRESS), *_direction(item, EGRESS), f"  Policy Types: {', '.join(item.spec.policyTypes)}",
    ]  # fmt: skip


def _direction(item: Any, direction: str) -> Iterator[str]:
    word = direction.lower()
    if direction not in item.spec.policyTypes:
        yield f"  Not affecting {word} traffic"
        return
    yield f"  Allowing {word} traffic:"
    found = [rule for rule in rules_of(item) if rule.direction == direction]
    if not found:
        yield f"{_RULE}<none> (Selected pods are isolated for {word} connectivity)"
    for number, rule in enumerate(found):
        yield from _rule(rule)
        if number < len(found) - 1:
            yield f"{_RULE}----------"


def _rule(rule: Rule) -> Iterator[str]:
    if not rule.ports:
        yield f"{_RULE}To Port: <any> (traffic allowed to all ports)"
    for port in rule.ports:
        first = (port.port.strVal if port.port.type else str(port.port.intVal)) if port.HasField("port") else "<nil>"
        if port.HasField("endPort"):
            yield f"{_RULE}To Port Range: {first}-{port.endPort}/{port.protocol}"
        else:
            yield f"{_RULE}To Port: {first}/{port.protocol}"
    title, where = ("From", "source") if rule.direction == INGRESS else ("To", "destination")
    if not rule.peers:
        yield f"{_RULE}{title}: <any> (traffic not restricted by {where})"
    for peer in rule.peers:
        yield f"{_RULE}{title}:"
        yield from _peer(peer)


def _peer(peer: Any) -> Iterator[str]:
    if peer.HasField("ipBlock"):
        yield f"{_RULE}  IPBlock:"
        yield f"{_RULE}    CIDR: {peer.ipBlock.cidr}"
        yield f"{_RULE}    Except: {', '.join(getattr(peer.ipBlock, 'except'))}"
    for title, field in (("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector")):
        if peer.HasField(field):
            yield f"{_RULE}  {title}: {labelselectors.text(getattr(peer, field)) or NONE}"


def ingress(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec = item.metadata, item.spec
    addresses = sorted({entry.ip or entry.hostname for entry in item.status.loadBalancer.ingress} - {""})
    default = _backend(client, meta.namespace, spec.defaultBackend) if spec.HasField("defaultBackend") else "<default>"
    return [
        f"Name:\t{meta.name}", *pairs("Labels", meta.labels), f"Namespace:\t{meta.namespace}",
        f"Address:\t{','.join(addresses)}",
        f"Ingress Class:\t{spec.ingressClassName if spec.HasField('ingressClassName') else NONE}",
        f"Default backend:\t{default}", *_tls(spec.tls), "Rules:", "  Host\tPath\tBackends", "  ----\t----\t--------",
        *_rules(client, item, default), *annotation_lines("Annotations", meta.annotations),
    ]  # fmt: skip


def _tls(items: Any) -> Iterator[str]:
    if items:
        yield "TLS:"
    for item in items:
        yield (
            f"  {item.secretName} terminates {','.join(item.hosts)}"
            if item.secretName
            else f"  SNI routes {','.join(item.hosts)}"
        )


def _rules(client: Any, item: Any, default: str) -> Iterator[str]:
    routed = [rule for rule in item.spec.rules if rule.ingressRuleValue.HasField("http")]
    if not routed:
        yield f"  *\t*\t{default}"
    for rule in routed:
        yield f"  {rule.host or '*'}\t"
        for path in rule.ingressRuleValue.http.paths:
            yield f"    \t{path.path} \t{_backend(client, item.metadata.namespace, path.backend)}"


def _backend(client: Any, namespace: str, backend: Any) -> str:
    """A Service with its endpoints, or another object."""
    if backend.HasField("resource"):
        found = backend.resource
        group = found.apiGroup if found.HasField("apiGroup") else NONE
        return f"APIGroup: {group}, Kind: {found.kind}, Name: {found.name}"
    name, port = backend.service.name, backend.service.port
    shown = f"{name}:{port.number or port.name}"
    try:
        service = client.get(kinds.SERVICE, namespace, name)
        names = [
            item.name for item in service.spec.ports if (port.number and item.port == port.number) or item.name == port.name
        ]
        # As kubectl, of several ports with the number the last one.
        return f"{shown} ({endpoints.text(client, namespace, name, names[-1] if names else '')})"
    except ApiError as error:
        return f"{shown} (<error: {error}>)"


def ingress_class(client: Any, kind: Kind, item: Any) -> list[str]:
    meta, spec = item.metadata, item.spec
    found = [
        f"Name:\t{meta.name}", *pairs("Labels", meta.labels), *annotation_lines("Annotations", meta.annotations),
        f"Controller:\t{spec.controller}",
    ]  # fmt: skip
    if spec.HasField("parameters"):
        group = [f"  APIGroup:\t{spec.parameters.apiGroup}"] if spec.parameters.HasField("apiGroup") else []
        found += ["Parameters:", *group, f"  Kind:\t{spec.parameters.kind}", f"  Name:\t{spec.parameters.name}"]
    return found
