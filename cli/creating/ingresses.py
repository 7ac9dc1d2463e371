"""Ingresses from flags. Pure.

Source: kubectl's pkg/cmd/create/create_ingress.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pinnace.errors import BadRequest

_RULE = re.compile(
    r"(?P<host>[\w*\-.]*)(?P<path>/[^,=\n]*)=(?P<service>[\w\-]+):(?P<port>[\w\-]+)(,(?P<tls>tls)=?(?P<secret>[\w\-]+)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?[0-9]{1,10}")


def add_ingress(parser: Any) -> None:
    parser.add_argument("--class", dest="ingress_class", default="", help="name of the IngressClass")
    parser.add_argument(
        "--rule", action="append", default=[],
        help="HOST/PATH=SERVICE:PORT[,tls[=SECRET]]; a PATH that ends with * is a prefix, any other one is exact (repeatable)",
    )  # fmt: skip
    parser.add_argument("--default-backend", default="", help="SERVICE:PORT for requests that match no rule")
    parser.add_argument("--annotation", action="append", default=[], help="annotation KEY=VALUE (repeatable)")


def ingress(args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest."""
    if not args.default_backend and not args.rule:
        raise BadRequest(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all "
            "traffic) or a list of rules (which catch specific paths)"
        )
    rules = [_parsed(rule) for rule in args.rule]
    annotations = dict(_annotation(text) for text in args.annotation)
    spec = {
        "ingressClassName": args.ingress_class, "defaultBackend": _default(args.default_backend), "tls": _certificates(rules),
        "rules": list(_rules(rules)),
    }  # fmt: skip
    found: dict[str, Any] = {"spec": {key: value for key, value in spec.items() if value}}
    return {"metadata": {"annotations": annotations}, **found} if annotations else found


def _parsed(rule: str) -> re.Match[str]:
    found = _RULE.fullmatch(rule)
    if found is None:
        raise BadRequest(f"rule {rule[:200]} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]")
    return found


def _annotation(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise BadRequest(f"annotation {text[:200]} is invalid and should be in format key=[value]")
    return key, value


def _default(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    if text.count(":") != 1:
        raise BadRequest("default-backend should be in format servicename:serviceport")
    return _backend(*text.split(":"))


def _backend(service: str, port: str) -> dict[str, Any]:
    number = {"number": int(port)} if _NUMBER.fullmatch(port) else {"name": port}
    return {"service": {"name": service, "port": number}}


def _certificates(rules: list[re.Match[str]]) -> list[dict[str, Any]]:
    """Each host once, those of one Secret together."""
    found: dict[str, list[str]] = {}
    seen = set()
    for rule in rules:
        host, secret = rule["host"], rule["secret"] or ""
        if not rule["tls"] or host in seen:
            continue
        seen.add(host)
        if host or secret:
            found.setdefault(secret, []).extend([host] if host else [])
    named = [{"hosts": hosts, "secretName": secret} for secret, hosts in found.items()]
    return [{key: value for key, value in item.items() if value} for item in named]


def _rules(rules: list[re.Match[str]]) -> Iterator[dict[str, Any]]:
    """One for each host, in the order in which they are named first."""
    by_host: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        prefix = rule["path"].endswith("*")
        path = {
            "path": rule["path"].removesuffix("*"), "pathType": "Prefix" if prefix else "Exact",
            "backend": _backend(rule["service"], rule["port"]),
        }  # fmt: skip
        by_host.setdefault(rule["host"], []).append(path)
    for host, paths in by_host.items():
        yield {**({"host": host} if host else {}), "http": {"paths": paths}}
