"""What a pod names besides itself: objects of the API that it could not run without. Pure.

Static pods may have none: their node gets nothing of the API's, and a mirror that named a Secret would bring the Secret
to a node that nobody sent it to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace.codec import join

# Fields by which a pod names an object, wherever in its spec they stand.
_NAMING = frozenset(
    (
        "configMap", "secret", "projected", "persistentVolumeClaim", "ephemeral", "configMapRef", "secretRef",
        "configMapKeyRef", "secretKeyRef", "imagePullSecrets", "resourceClaims",
    )
)  # fmt: skip


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
