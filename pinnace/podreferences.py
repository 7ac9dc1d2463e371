"""What a pod names besides itself: objects of the API that it could not run without. Pure.

Static pods may have none: their node gets nothing of the API's, and a mirror that named a Secret would bring the Secret
to a node that nobody sent it to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import kinds, persistentvolumes, podspec
from pinnace.codec import join
from pinnace.kinds import Kind

# Fields by which a pod names an object, wherever in its spec they stand.
_NAMING = frozenset(
    (
        "configMap", "secret", "projected", "persistentVolumeClaim", "ephemeral", "configMapRef", "secretRef",
        "configMapKeyRef", "secretKeyRef", "imagePullSecrets", "resourceClaims", "serviceAccountToken",
    )
)  # fmt: skip
_CONFIG: dict[str, Kind] = {"ConfigMap": kinds.CONFIG_MAP, "Secret": kinds.SECRET}


def fields(message: Any, path: str = "spec") -> Iterator[str]:
    """The path of every field of a pod's spec that names an object of the API."""
    for descriptor, value in message.ListFields():
        inline = descriptor.name in ("volumeSource", "localObjectReference", "ephemeralContainerCommon")
        here = path if inline else join(path, descriptor.name)
        if descriptor.name in _NAMING:
            yield here
        elif descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        elif descriptor.is_repeated:
            for index, item in enumerate(value):
                yield from fields(item, f"{here}[{index}]")
        else:
            yield from fields(value, here)


def config_keys(pod: Any) -> frozenset[str]:
    """Store keys of the ConfigMaps, Secrets, claims and the RuntimeClass that a pod names."""
    namespace = pod.metadata.namespace
    found: set[tuple[str, str]] = set()
    for volume in pod.spec.volumes:
        source = volume.volumeSource
        if source.HasField("configMap"):
            found.add(("ConfigMap", source.configMap.localObjectReference.name))
        if source.HasField("secret"):
            found.add(("Secret", source.secret.secretName))
        for part in source.projected.sources:
            found.add(("ConfigMap", part.configMap.localObjectReference.name))
            found.add(("Secret", part.secret.localObjectReference.name))
    for _, container in podspec.containers(pod):
        for env in container.env:
            found.add(("ConfigMap", env.valueFrom.configMapKeyRef.localObjectReference.name))
            found.add(("Secret", env.valueFrom.secretKeyRef.localObjectReference.name))
        for source in container.envFrom:
            found.add(("ConfigMap", source.configMapRef.localObjectReference.name))
            found.add(("Secret", source.secretRef.localObjectReference.name))
    for item in pod.spec.imagePullSecrets:
        found.add(("Secret", item.name))
    keys = {_CONFIG[kind].key(namespace, name) for kind, name in found if name}
    keys |= {
        kinds.PERSISTENT_VOLUME_CLAIM.key(namespace, claim.name) for claim in persistentvolumes.claims_of(pod) if claim.name
    }
    if pod.spec.runtimeClassName:
        keys.add(kinds.RUNTIME_CLASS.key("", pod.spec.runtimeClassName))
    return frozenset(keys)


def named_by(kind: Kind, message: Any) -> frozenset[str]:
    """Store keys of what an object that a pod names needs in turn: the volume of a claim."""
    if kind is kinds.PERSISTENT_VOLUME_CLAIM and message.spec.volumeName:
        return frozenset((kinds.PERSISTENT_VOLUME.key("", message.spec.volumeName),))
    return frozenset()
