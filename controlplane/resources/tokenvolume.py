"""The volume by which a pod's containers find the token of its service account, the API's CA and their namespace. Pure.

Source: the ServiceAccount admission plugin (plugin/pkg/admission/serviceaccount/admission.go). Clients look for the files at
MOUNT_PATH: client-go's rest.InClusterConfig and its like in other languages.
"""

from __future__ import annotations

from controlplane.resources import rootca
from pinnace.clock import suffix_of
from pinnace.core.v1.container_pb2 import Container
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.core.v1.serviceaccount_pb2 import ServiceAccount
from pinnace.core.v1.volume_pb2 import ProjectedVolumeSource, Volume

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
PREFIX = "kube-api-access-"
# An hour, and seven seconds that tell these tokens from others, as in Kubernetes.
EXPIRATION = 3607


def wanted(pod: Pod, account: ServiceAccount) -> bool:
    """Whether the token is mounted: the pod decides, else its account; by default it is."""
    for source in (pod.spec, account):
        if source.HasField("automountServiceAccountToken"):
            return source.automountServiceAccountToken
    return True


def mount(pod: Pod, account: ServiceAccount) -> None:
    """Mount the volume in each container and init container without a mount at its path; add it if there was need of it.

    Pods of one account have one name for it (Kubernetes draws one for each), so that pods with equal manifests have equal
    specs, which admission remembers. A volume whose name begins like its name is taken for it. Ephemeral containers mount
    what they say themselves."""
    spec = pod.spec
    existing = next((volume.name for volume in spec.volumes if volume.name.startswith(PREFIX)), "")
    lacking = [item for item in (*spec.initContainers, *spec.containers) if not _has_mount(item)]
    name = existing or PREFIX + suffix_of(account.metadata.uid)
    for container in lacking:
        container.volumeMounts.add(name=name, readOnly=True, mountPath=MOUNT_PATH)
    if lacking and not existing:
        spec.volumes.append(_volume(name))


def _has_mount(container: Container) -> bool:
    return any(mount.mountPath == MOUNT_PATH for mount in container.volumeMounts)


def _volume(name: str) -> Volume:
    made = Volume(name=name)
    made.volumeSource.projected.CopyFrom(_SOURCE)
    return made


def _source() -> ProjectedVolumeSource:
    made = ProjectedVolumeSource(defaultMode=0o644)
    token = made.sources.add().serviceAccountToken
    token.path, token.expirationSeconds = "token", EXPIRATION
    ca = made.sources.add().configMap
    ca.localObjectReference.name = rootca.NAME
    ca.items.add(key=rootca.KEY, path=rootca.KEY)
    namespace = made.sources.add().downwardAPI.items.add(path="namespace")
    namespace.fieldRef.apiVersion, namespace.fieldRef.fieldPath = "v1", "metadata.namespace"
    return made


_SOURCE = _source()
