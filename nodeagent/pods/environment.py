"""A container's environment and arguments: literal values, references, and $(NAME) expansion. Pure.

Source: the behaviour of kubelet: `envFrom` first, then `env` in order, each seeing those before it.
"""

from __future__ import annotations

import re
from typing import Any

from nodeagent.volumes.manager import Lookup
from pinnace import quantity

_REFERENCE = re.compile(r"\$\$|\$\(([^()$\s]+)\)")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z", re.ASCII)


class ConfigError(Exception):
    """The container cannot be configured now: what it names is not there. It is tried again."""


def expand(text: str, values: dict[str, str]) -> str:
    """`$(A)` becomes A's value, `$$` a dollar; a name that is unknown stays as written."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def environment(pod: Any, container: Any, image_env: list[str], lookup: Lookup, facts: dict[str, str]) -> dict[str, str]:
    """All variables. `facts` answers `status.podIP` and the like. Raises ConfigError."""
    values = dict(item.partition("=")[::2] for item in image_env)
    values.setdefault("HOSTNAME", facts["hostname"])
    for source in container.envFrom:
        values |= _all(source, lookup)
    for item in container.env:
        if item.HasField("valueFrom"):
            value = _resolve(pod, container, item.valueFrom, lookup, facts)
            if value is not None:
                values[item.name] = value
        else:
            values[item.name] = expand(item.value, values)
    return values


def _all(source: Any, lookup: Lookup) -> dict[str, str]:
    kind = "ConfigMap" if source.HasField("configMapRef") else "Secret"
    ref = source.configMapRef if kind == "ConfigMap" else source.secretRef
    found = lookup(kind, ref.localObjectReference.name)
    if found is None:
        if ref.optional:
            return {}
        raise ConfigError(f'{kind.lower()} "{ref.localObjectReference.name}" not found')
    return {source.prefix + key: _text(value) for key, value in found.data.items() if _ENV_NAME.match(source.prefix + key)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _resolve(pod: Any, container: Any, source: Any, lookup: Lookup, facts: dict[str, str]) -> str | None:
    if source.HasField("fieldRef"):
        return field_of(pod, source.fieldRef.fieldPath, facts)
    if source.HasField("resourceFieldRef"):
        return _resource(pod, container, source.resourceFieldRef, facts)
    kind = "ConfigMap" if source.HasField("configMapKeyRef") else "Secret"
    ref = source.configMapKeyRef if kind == "ConfigMap" else source.secretKeyRef
    found = lookup(kind, ref.localObjectReference.name)
    if found is None and not ref.optional:
        raise ConfigError(f'{kind.lower()} "{ref.localObjectReference.name}" not found')
    if found is None or ref.key not in found.data:
        if ref.optional:
            return None
        raise ConfigError(f"couldn't find key {ref.key} in {kind} {pod.metadata.namespace}/{ref.localObjectReference.name}")
    return _text(found.data[ref.key])


def field_of(pod: Any, path: str, facts: dict[str, str]) -> str:
    if path in facts:
        return facts[path]
    for name in ("labels", "annotations"):
        if path.startswith(f"metadata.{name}['"):
            items: Any = getattr(pod.metadata, name)
            return str(items.get(path[len(f"metadata.{name}['") : -2], ""))
    value: Any = pod
    for part in path.split("."):
        value = getattr(value, part)
    return str(value)


def _resource(pod: Any, container: Any, ref: Any, facts: dict[str, str]) -> str:
    every = (*pod.spec.containers, *pod.spec.initContainers)
    target = next((item for item in every if item.name == ref.containerName), container)
    kind, _, name = ref.resource.partition(".")
    amounts = getattr(target.resources, kind)
    if name not in amounts:
        # An absent limit is the node's allocatable, an absent request is zero.
        text = facts[f"allocatable.{name}"] if kind == "limits" else "0"
    else:
        text = amounts[name].string
    divisor = quantity.parse(ref.divisor.string or "1") or quantity.parse("1")
    value = quantity.parse(text) / divisor
    return str(-(-value.numerator // value.denominator))
