"""What a pod is called: its host name, its domain, and what the kernel is told. Pure.

Source: the behaviour of kubelet's GeneratePodHostNameAndDomain and GetNodenameForKernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_HOSTNAME = 63
# What uname(2) has room for.
MAX_NODENAME = 64


class HostnameError(Exception):
    """The pod cannot have the name it asks for; the text is for people."""


@dataclass(frozen=True, slots=True)
class Names:
    """`hostname` is short, `domain` empty without a subdomain."""

    hostname: str
    domain: str = ""

    @property
    def full(self) -> str:
        return f"{self.hostname}.{self.domain}" if self.domain else self.hostname


def names_of(pod: Any, *, node: str, cluster_domain: str) -> Names:
    """`node` is the host name of the node, which pods with its network share."""
    spec, meta = pod.spec, pod.metadata
    if spec.hostNetwork:
        return Names(node)
    if spec.HasField("hostnameOverride"):
        return Names(_fitting(spec.hostnameOverride))
    domain = f"{spec.subdomain}.{meta.namespace}.svc.{cluster_domain}" if spec.subdomain else ""
    return Names(_fitting(spec.hostname or meta.name), domain)


def nodename(pod: Any, names: Names) -> str:
    """What `hostname` prints in the pod. Raises HostnameError when a full name is too long for it."""
    if not pod.spec.setHostnameAsFQDN or pod.spec.hostNetwork:
        return names.hostname
    if len(names.full) > MAX_NODENAME:
        raise HostnameError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {names.full} is too long "
            f"({MAX_NODENAME} characters is the max, {len(names.full)} characters requested)"
        )
    return names.full


def _fitting(name: str) -> str:
    return name if len(name) <= MAX_HOSTNAME else name[:MAX_HOSTNAME].rstrip("-.")
