"""Ingresses: backends, hosts with wildcards, paths by their type, and certificates.

Source: networking/validation (ValidateIngressCreate, ValidateIngressUpdate, ValidateIngressStatusUpdate).
"""

from __future__ import annotations

from collections.abc import Iterator

from pinnace import fielderrors, formats
from pinnace.admission import meta, objectnames
from pinnace.admission.kindrules import KindRules
from pinnace.errors import Cause
from pinnace.networking.v1.ingress_pb2 import (
    HTTPIngressPath,
    Ingress,
    IngressBackend,
    IngressRule,
    IngressServiceBackend,
    IngressTLS,
)
from pinnace.wellknown import INGRESS_CLASS

EXACT, PREFIX, IMPLEMENTATION_SPECIFIC = "Exact", "Prefix", "ImplementationSpecific"
_PATH_TYPES = EXACT, IMPLEMENTATION_SPECIFIC, PREFIX
_BAD_SEQUENCES, _BAD_SUFFIXES = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")


def validate(item: Ingress) -> list[Cause]:
    spec, errors = item.spec, list[Cause]()
    if not spec.rules and not spec.HasField("defaultBackend"):
        errors.append(fielderrors.invalid("spec", [], "either `defaultBackend` or `rules` must be specified"))
    if spec.HasField("defaultBackend"):
        errors += _backend(spec.defaultBackend, "spec.defaultBackend")
    for index, rule in enumerate(spec.rules):
        errors += _rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.tls):
        errors += _tls(tls, f"spec.tls[{index}]")
    if spec.HasField("ingressClassName"):
        errors += meta.each("spec.ingressClassName", spec.ingressClassName, formats.dns_subdomain)
    return errors


def validate_create(item: Ingress) -> list[Cause]:
    annotation = item.metadata.annotations.get(INGRESS_CLASS)
    if annotation is None or not item.spec.HasField("ingressClassName") or annotation == item.spec.ingressClassName:
        return []
    text = "must match `ingressClassName` when both are specified"
    return [fielderrors.invalid(f"annotations.{INGRESS_CLASS}", annotation, text)]


def validate_status(new: Ingress, old: Ingress) -> list[Cause]:
    errors = list[Cause]()
    for index, address in enumerate(new.status.loadBalancer.ingress):
        path = f"status.loadBalancer.ingress[{index}]"
        if address.ip:
            errors += meta.each(f"{path}.ip", address.ip, formats.ip)
        if address.hostname:
            errors += meta.each(f"{path}.hostname", address.hostname, formats.dns_subdomain)
            errors += _no_address(address.hostname, f"{path}.hostname")
    return errors


def _no_address(host: str, path: str) -> Iterator[Cause]:
    if formats.is_address(host):
        yield fielderrors.invalid(path, host, "must be a DNS name, not an IP address")


def _host(host: str, path: str) -> Iterator[Cause]:
    return meta.each(path, host, formats.wildcard_subdomain if "*" in host else formats.dns_subdomain)


def _tls(item: IngressTLS, path: str) -> Iterator[Cause]:
    for index, host in enumerate(item.hosts):
        yield from _host(host, f"{path}.hosts[{index}]")
    if item.secretName:
        yield from meta.each(f"{path}.secretName", item.secretName, formats.dns_subdomain)


def _rule(item: IngressRule, path: str) -> Iterator[Cause]:
    if item.host:
        yield from _no_address(item.host, f"{path}.host")
        yield from _host(item.host, f"{path}.host")
    value = item.ingressRuleValue
    if not value.HasField("http"):
        return
    if not value.http.paths:
        yield fielderrors.required(f"{path}.http.paths")
    for index, http in enumerate(value.http.paths):
        yield from _path(http, f"{path}.http.paths[{index}]")


def _path(item: HTTPIngressPath, path: str) -> Iterator[Cause]:
    if not item.HasField("pathType"):
        yield fielderrors.required(f"{path}.pathType", "pathType must be specified")
        return
    if item.pathType in (EXACT, PREFIX) or (item.pathType == IMPLEMENTATION_SPECIFIC and item.path):
        if not item.path.startswith("/"):
            yield fielderrors.invalid(f"{path}.path", item.path, "must be an absolute path")
    if item.pathType in (EXACT, PREFIX):
        yield from _unambiguous(item.path, f"{path}.path")
    elif item.pathType != IMPLEMENTATION_SPECIFIC:
        yield fielderrors.not_supported(f"{path}.pathType", item.pathType, _PATH_TYPES)
    yield from _backend(item.backend, f"{path}.backend")


def _unambiguous(text: str, path: str) -> Iterator[Cause]:
    for part in _BAD_SEQUENCES:
        if part in text:
            yield fielderrors.invalid(path, text, f"must not contain '{part}'")
    for part in _BAD_SUFFIXES:
        if text.endswith(part):
            yield fielderrors.invalid(path, text, f"cannot end with '{part}'")


def _backend(item: IngressBackend, path: str) -> Iterator[Cause]:
    if item.HasField("resource") and item.HasField("service"):
        yield fielderrors.invalid(path, "", "cannot set both resource and service backends")
    elif item.HasField("resource"):
        yield from objectnames.local_reference(f"{path}.resource", item.resource)
    elif item.HasField("service"):
        yield from _service(item.service, path)
    else:
        yield fielderrors.invalid(path, "", "resource or service backend is required")


def _service(item: IngressServiceBackend, path: str) -> Iterator[Cause]:
    if not item.name:
        yield fielderrors.required(f"{path}.service.name")
    else:
        yield from meta.each(f"{path}.service.name", item.name, formats.dns_label)
    port = item.port
    if port.name and port.number:
        yield fielderrors.invalid(path, "", "cannot set both port name & port number")
    elif port.name:
        yield from meta.each(f"{path}.service.port.name", port.name, formats.port_name)
    elif port.number:
        for detail in formats.port_number(port.number):
            yield fielderrors.invalid(f"{path}.service.port.number", port.number, detail)
    else:
        yield fielderrors.required(path, "port name or number is required")


RULES: KindRules[Ingress] = KindRules(validate=validate, validate_create=validate_create, validate_status=validate_status)
