"""A pod's names and DNS settings: rules between fields.

Source: the behaviour of Kubernetes' core/v1 validation, also in its words where there are some.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import codec, rules
from pinnace.errors import Cause

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
# Characters of all search domains with the spaces between them.
MAX_SEARCH_LINE = 2048
# What uname(2) has room for.
MAX_HOSTNAME = 64


def faults(pod: Any) -> list[Cause]:
    return [*_override(pod.spec), *_aliases(pod.spec), *_dns(pod.spec)]


def _override(spec: Any) -> Iterator[Cause]:
    if not spec.HasField("hostnameOverride"):
        return
    path = "spec.hostnameOverride"
    if not spec.hostnameOverride:
        yield Cause(path, "Invalid value: must not be empty")
    if len(spec.hostnameOverride) > MAX_HOSTNAME:
        yield Cause(path, f"Too long: may not be more than {MAX_HOSTNAME} bytes", "FieldValueTooLong")
    if spec.setHostnameAsFQDN:
        yield Cause(path, "Forbidden: may not be set when setHostnameAsFQDN is true", "FieldValueForbidden")
    if spec.hostNetwork:
        yield Cause(path, "Forbidden: may not be set when hostNetwork is true", "FieldValueForbidden")


def _aliases(spec: Any) -> Iterator[Cause]:
    for index, alias in enumerate(spec.hostAliases):
        for place, name in enumerate(alias.hostnames):
            yield from _subdomain(f"spec.hostAliases[{index}].hostnames[{place}]", name)


def _subdomain(path: str, name: str) -> Iterator[Cause]:
    wrong = rules.is_subdomain(name)
    if wrong:
        yield Cause(path, f"Invalid value: {codec.describe(name)}: {wrong}")


def _dns(spec: Any) -> Iterator[Cause]:
    config, path = spec.dnsConfig, "spec.dnsConfig"
    if spec.dnsPolicy == "None" and not config.nameservers:
        text = "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"
        yield Cause(f"{path}.nameservers", text, "FieldValueRequired")
    if len(config.nameservers) > MAX_NAMESERVERS:
        yield Cause(f"{path}.nameservers", f"Invalid value: must not have more than {MAX_NAMESERVERS} nameservers")
    for index, server in enumerate(config.nameservers):
        wrong = rules.FORMATS["ip"](server)
        if wrong:
            yield Cause(f"{path}.nameservers[{index}]", f"Invalid value: {codec.describe(server)}: {wrong}")
    if len(config.searches) > MAX_SEARCHES:
        yield Cause(f"{path}.searches", f"Invalid value: must not have more than {MAX_SEARCHES} search paths")
    if len(" ".join(config.searches)) > MAX_SEARCH_LINE:
        text = f"must not have more than {MAX_SEARCH_LINE} characters (including spaces) in the search list"
        yield Cause(f"{path}.searches", f"Invalid value: {text}")
    for index, name in enumerate(config.searches):
        if name != ".":
            # Underscores are of use in domains of services (_tcp), and resolvers take them.
            yield from _subdomain(f"{path}.searches[{index}]", name.removesuffix(".").replace("_", "a"))
    for index, option in enumerate(config.options):
        here = f"{path}.options[{index}]"
        if not option.name:
            yield Cause(f"{here}.name", "Required value: must not be empty", "FieldValueRequired")
        if any(character.isspace() for character in option.name + option.value):
            yield Cause(here, "Invalid value: must not contain spaces")
