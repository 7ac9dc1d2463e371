"""A pod's names and DNS settings: rules between fields.

Source: core/v1's validatePodHostName, ValidateHostAliases and validatePodDNSConfig.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.admission.podparts import PodParts
from pinnace.errors import Cause

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
# Characters of all search domains with the spaces between them.
MAX_SEARCH_LINE = 2048
# What uname(2) has room for.
MAX_HOSTNAME = 64


def validate(parts: PodParts) -> list[Cause]:
    spec, fields = parts.spec, parts.fields
    errors = [*_override(spec)] if "hostnameOverride" in fields else []
    if "hostAliases" in fields:
        errors += _aliases(spec)
    if "dnsConfig" in fields or fields.get("dnsPolicy") == "None":
        errors += _dns(spec)
    return errors


def _override(spec: Any) -> Iterator[Cause]:
    path = "spec.hostnameOverride"
    if spec.setHostnameAsFQDN:
        yield fielderrors.forbidden(path, "may not be specified when setHostnameAsFQDN is true")
    if spec.hostNetwork:
        yield fielderrors.forbidden(path, "may not be specified when hostNetwork is true")
    if len(spec.hostnameOverride) > MAX_HOSTNAME:
        yield fielderrors.too_long(path, MAX_HOSTNAME)


def _aliases(spec: Any) -> Iterator[Cause]:
    for index, alias in enumerate(spec.hostAliases):
        for place, name in enumerate(alias.hostnames):
            yield from meta.each(f"spec.hostAliases[{index}].hostnames[{place}]", name, formats.dns_subdomain)


def _dns(spec: Any) -> Iterator[Cause]:
    config, path = spec.dnsConfig, "spec.dnsConfig"
    if spec.dnsPolicy == "None" and not spec.HasField("dnsConfig"):
        yield fielderrors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
    elif spec.dnsPolicy == "None" and not config.nameservers:
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield fielderrors.required(f"{path}.nameservers", text)
    if len(config.nameservers) > MAX_NAMESERVERS:
        text = f"must not have more than {MAX_NAMESERVERS} nameservers"
        yield fielderrors.invalid(f"{path}.nameservers", list(config.nameservers), text)
    for index, server in enumerate(config.nameservers):
        yield from meta.each(f"{path}.nameservers[{index}]", server, formats.ip)
    yield from _searches(f"{path}.searches", config.searches)
    for index, option in enumerate(config.options):
        here = f"{path}.options[{index}]"
        if not option.name:
            yield fielderrors.required(here, "must not be empty")
        if any(character.isspace() for character in option.name + option.value):
            yield fielderrors.invalid(here, f"{option.name}:{option.value}", "must not contain spaces")


def _searches(path: str, searches: Any) -> Iterator[Cause]:
    if len(searches) > MAX_SEARCHES:
        yield fielderrors.invalid(path, list(searches), f"must not have more than {MAX_SEARCHES} search paths")
    if len(" ".join(searches)) > MAX_SEARCH_LINE:
        text = f"must not have more than {MAX_SEARCH_LINE} characters (including spaces) in the search list"
        yield fielderrors.invalid(path, list(searches), text)
    for index, name in enumerate(searches):
        if name != ".":
            yield from meta.each(f"{path}[{index}]", name.removesuffix("."), formats.search_domain)
