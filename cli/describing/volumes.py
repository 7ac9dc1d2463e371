"""The source of a volume in detail, as kubectl describes it: lines whose cells end with tabs (`tabbed`).

Source: describeVolumes of kubectl's pkg/describe, for the sources that Pinnace has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

UNSET, NONE = "<unset>", "<none>"


def lines(source: Any) -> list[str]:
    """Indented below the volume's name."""
    name = next((field.name for field, _ in source.ListFields() if field.name in _SOURCES), "")
    return [f"    {text}" for text in _SOURCES[name](getattr(source, name))] if name else ["<unknown>"]


def _host_path(item: Any) -> list[str]:
    kind = item.type if item.HasField("type") else NONE
    return ["Type:\tHostPath (bare host directory volume)", f"Path:\t{item.path}", f"HostPathType:\t{kind}"]


def _empty_dir(item: Any) -> list[str]:
    limit = item.sizeLimit.string if item.HasField("sizeLimit") else UNSET
    text = "Type:\tEmptyDir (a temporary directory that shares a pod's lifetime)"
    return [text, f"Medium:\t{item.medium}", f"SizeLimit:\t{limit}"]


def _secret(item: Any) -> list[str]:
    return ["Type:\tSecret (a volume populated by a Secret)", f"SecretName:\t{item.secretName}", _optional(item)]


def _config_map(item: Any) -> list[str]:
    name = item.localObjectReference.name
    return ["Type:\tConfigMap (a volume populated by a ConfigMap)", f"Name:\t{name}", _optional(item)]


def _downward_api(item: Any) -> list[str]:
    found = ["Type:\tDownwardAPI (a volume populated by information about the pod)", "Items:"]
    for file in item.items:
        if file.HasField("fieldRef"):
            found.append(f"  {file.fieldRef.fieldPath} -> {file.path}")
        if file.HasField("resourceFieldRef"):
            found.append(f"  {file.resourceFieldRef.resource} -> {file.path}")
    return found


def _projected(item: Any) -> list[str]:
    found = ["Type:\tProjected (a volume that contains injected data from multiple sources)"]
    for source in item.sources:
        if source.HasField("secret"):
            found += [f"SecretName:\t{source.secret.localObjectReference.name}", _optional(source.secret)]
        elif source.HasField("downwardAPI"):
            found.append("DownwardAPI:\ttrue")
        elif source.HasField("configMap"):
            found += [f"ConfigMapName:\t{source.configMap.localObjectReference.name}", _optional(source.configMap)]
        elif source.HasField("serviceAccountToken"):
            found.append(f"TokenExpirationSeconds:\t{source.serviceAccountToken.expirationSeconds}")
    return found


def _image(item: Any) -> list[str]:
    text = "Type:\tImage (a container image or OCI artifact)"
    return [text, f"Reference:\t{item.reference}", f"PullPolicy:\t{item.pullPolicy}"]


def _optional(item: Any) -> str:
    return f"Optional:\t{'true' if item.optional else 'false'}"


_SOURCES: dict[str, Callable[[Any], list[str]]] = {
    "hostPath": _host_path, "emptyDir": _empty_dir, "secret": _secret, "configMap": _config_map,
    "downwardAPI": _downward_api, "projected": _projected, "image": _image,
}  # fmt: skip
