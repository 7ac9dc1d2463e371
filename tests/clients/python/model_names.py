"""Prints the names in the OpenAPI document that the client `kubernetes` is generated from, as JSON: its release, the kinds of each
version, and the fields of each type, with the types that they hold.

    {"release": "1.37", "kinds": {"apps/v1": {"Deployment": "deployments V1Deployment", ...}, ...},
     "types": {"V1DeploymentSpec": "minReadySeconds ... selector:V1LabelSelector ...", ...}}

Kinds are those of which a client can read or create objects. Of versions before v1 the kinds alone are printed."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import kubernetes.client.api as apis
import kubernetes.client.models as models
from pydantic import BaseModel

PATH = re.compile(
    r"resource_path='/api(?:s/([a-z0-9.]+))?/(v[a-z0-9]+)/(?:namespaces/{namespace}/)?([a-z]+)(?:/{name})?(/[a-z]+)?'"
)
METHOD = re.compile(r"(create|read)_(?!.*_(with_http_info|without_preload_content)\Z)")
RELEASE = re.compile(r"The version of the OpenAPI document: release-(\S+)")


def answers() -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Version of a group, plural and type of all that the client reads or creates; an empty plural: of a subresource."""
    for api in (getattr(apis, name) for name in apis.__all__):
        for name, method in vars(api).items():
            if not METHOD.match(name):
                continue
            found = PATH.search(inspect.getsource(getattr(api, f"_{name}_serialize")))
            kind = method.__annotations__["return"]
            if found is not None and held(kind) is kind:
                group, version, plural, part = found.groups()
                yield f"{group}/{version}" if group else version, "" if part else plural, kind


def held(annotation: Any) -> type[BaseModel] | None:
    """The type of a field, of the items of a list or of the values of a map."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := held(part)) is not None), None)


def fields(kind: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel] | None]]:
    for name, item in kind.model_fields.items():
        yield item.serialization_alias or name, held(item.annotation)


def main() -> None:
    kinds: dict[str, dict[str, str]] = {}
    types: dict[str, str] = {}
    waiting: list[type[BaseModel]] = []
    for version, plural, kind in answers():
        name = re.sub(r"\A.*?V\d+((alpha|beta)\d+)?", "", kind.__name__)
        stable = re.fullmatch(r"(.*/)?v\d+", version) is not None
        if plural:
            kinds.setdefault(version, {})[name] = f"{plural} {kind.__name__}" if stable else plural
        waiting += [kind] if stable else []
    while waiting:
        kind = waiting.pop()
        if kind.__name__ in types:
            continue
        found = sorted(fields(kind), key=lambda pair: pair[0])
        types[kind.__name__] = " ".join(f"{name}:{inner.__name__}" if inner else name for name, inner in found)
        waiting += [inner for _, inner in found if inner]
    release = RELEASE.search(inspect.getsource(models))
    assert release is not None
    print(json.dumps({"release": release[1], "kinds": kinds, "types": types}, indent=1, sort_keys=True))


main()
