"""A pod's own /etc/hosts, /etc/hostname and /etc/resolv.conf."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodeagent.pods.spec.hostnames import Names
from nodeagent.pods.spec.resolver import ClusterDns, resolver_of

# Name in the pod's folder, and where its containers see it.
TARGETS = {"etc-hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname"}
_NODE_HOSTS = Path("/etc/hosts")
# Kubernetes' own first lines: its conformance tests, and people, look for them.
_MANAGED = "# Kubernetes-managed hosts file."
_MANAGED_HOST = "# Kubernetes-managed hosts file (host network)."
_LOCAL = (
    "127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "fe00::0\tip6-localnet", "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes", "fe00::2\tip6-allrouters",
)  # fmt: skip


def write(folder: Path, pod: Any, *, names: Names, nodename: str, addresses: Sequence[str], dns: ClusterDns) -> tuple[str, ...]:
    """Write all three; returns warnings about DNS settings that did not fit. Raises OSError."""
    resolver = resolver_of(pod, dns, _read(dns.resolv_conf))
    texts = {
        "etc-hosts": hosts(pod, names, addresses, _read(_NODE_HOSTS) if pod.spec.hostNetwork else ""),
        "hostname": nodename + "\n",
        "resolv.conf": resolver.text(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        os.chmod(folder / name, 0o644)
    return resolver.warnings


def hosts(pod: Any, names: Names, addresses: Sequence[str], node: str) -> str:
    """The text of /etc/hosts. `node` is that of the node's, which pods with its network get. Pure."""
    if pod.spec.hostNetwork:
        lines = [_MANAGED_HOST, node.rstrip("\n")]
    else:
        called = f"{names.full}\t{names.hostname}" if names.domain else names.hostname
        lines = [_MANAGED, *_LOCAL, *(f"{address}\t{called}" for address in addresses)]
    if pod.spec.hostAliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += [f"{alias.ip}\t" + "\t".join(alias.hostnames) for alias in pod.spec.hostAliases]
    return "\n".join(lines) + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
