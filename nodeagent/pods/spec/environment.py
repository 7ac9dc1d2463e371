"""A container's environment and arguments: literal values, references, and $(NAME) expansion. Pure.

Source: the behaviour of kubelet: services first, then `envFrom`, then `env` in order, each seeing those before it. The image's
variables come from elsewhere: the runtime adds them below the manifest's, and no reference sees them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodeagent.pods.spec import downward
from nodeagent.volumes.content import Lookup
from pinnace import formats

_REFERENCE = re.compile(r"\$\$|\$\(([^()$\s]+)\)")


class ConfigError(Exception):
    """The container cannot be configured now: what it names is not there. It is tried again."""


@dataclass(frozen=True, slots=True)
class Environment:
    """`own` is the manifest's part, which $(NAME) sees; `skipped` says in words which keys of `envFrom` make no name."""

    own: dict[str, str]
    image: dict[str, str]
    skipped: tuple[str, ...] = ()

    @property
    def all(self) -> dict[str, str]:
        return self.image | self.own


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(A)` becomes A's value, `$$` a dollar; a name that is unknown stays as written."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def expand_path(text: str, values: Mapping[str, str]) -> str:
    """`expand` for a subPathExpr, where every name must have a value. Raises ConfigError."""
    names = {match[1] for match in _REFERENCE.finditer(text) if match[1]}
    missing = sorted(name for name in names if not values.get(name))
    if missing:
        raise ConfigError(f"missing value for {', '.join(missing)}")
    path = expand(text, values)
    if path.startswith("/"):
        raise ConfigError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")
    return path


def environment(
    pod: Any, container: Any, image_env: list[str], lookup: Lookup, facts: dict[str, str], services: Mapping[str, str]
) -> Environment:  # fmt: skip
    """All variables. `facts` answers `status.podIP` and the like; `services` are variables that say where services are, below
    the manifest's own. Raises ConfigError."""
    image = dict(item.partition("=")[::2] for item in image_env)
    image.setdefault("HOSTNAME", facts["hostname"])
    values = dict(services)
    skipped = []
    for source in container.envFrom:
        found, unusable = _all(pod, source, lookup)
        values |= found
        skipped += unusable
    for item in container.env:
        value: str | None = expand(item.value, values)
        if item.HasField("valueFrom"):
            value = _resolve(pod, container, item.valueFrom, lookup, facts)
        if value is not None:
            values[item.name] = value
    for name, text in values.items():
        if "\0" in text:
            raise ConfigError(f"the value of environment variable {name} has a NUL byte, which no variable can hold")
    return Environment(values, image, tuple(skipped))


def _all(pod: Any, source: Any, lookup: Lookup) -> tuple[dict[str, str], list[str]]:
    """Every key of one source, and a sentence about those that cannot be names."""
    kind = "ConfigMap" if source.HasField("configMapRef") else "Secret"
    ref = source.configMapRef if kind == "ConfigMap" else source.secretRef
    name = ref.localObjectReference.name
    found = _find(kind, name, ref, lookup)
    items = {source.prefix + key: _text(value) for key, value in (found.data if found is not None else {}).items()}
    wrong = sorted(key for key in items if formats.env_name(key))
    if not wrong:
        return items, []
    owner = f"{kind[0].lower()}{kind[1:]} {pod.metadata.namespace}/{name}"
    text = (
        f"Keys [{', '.join(wrong)}] from the EnvFrom {owner} were skipped since they are considered invalid environment "
        "variable names."
    )
    return {key: value for key, value in items.items() if key not in wrong}, [text]


def _find(kind: str, name: str, ref: Any, lookup: Lookup) -> Any | None:
    found = lookup(kind, name)
    if found is None and not ref.optional:
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    return found


def _text(value: Any) -> str:
    # A Secret's bytes reach the program as they are, also when they are no text.
    return value if isinstance(value, str) else value.decode(errors="surrogateescape")


def _resolve(pod: Any, container: Any, source: Any, lookup: Lookup, facts: dict[str, str]) -> str | None:
    if source.HasField("fieldRef"):
        return downward.field_of(pod, source.fieldRef.fieldPath, facts)
    if source.HasField("resourceFieldRef"):
        try:
            return downward.resource_of(pod, container, source.resourceFieldRef, facts)
        except LookupError as error:
            raise ConfigError(str(error)) from None
    kind = "ConfigMap" if source.HasField("configMapKeyRef") else "Secret"
    ref = source.configMapKeyRef if kind == "ConfigMap" else source.secretKeyRef
    name = ref.localObjectReference.name
    found = _find(kind, name, ref, lookup)
    if found is not None and ref.key in found.data:
        return _text(found.data[ref.key])
    if not ref.optional:
        raise ConfigError(f"couldn't find key {ref.key} in {kind} {pod.metadata.namespace}/{name}")
    return None
