"""The kernel parameters of a pod's namespaces: the defaults of containerd 2 and Docker, and above them the manifest's. Pure."""

from __future__ import annotations

from typing import Any

from nodeagent.runtime.interface import IdRange

_MAX_GROUP = (1 << 31) - 1


def of(pod: Any, ids: IdRange | None) -> tuple[tuple[str, str], ...]:
    """Values by dotted name; `ids` are those of the pod's user namespace."""
    defaults: dict[str, str] = {}
    if not pod.spec.hostNetwork:
        # A network namespace of its own has ports of its own: every user may bind each, and open ICMP sockets (ping).
        group = _MAX_GROUP if ids is None else ids.size - 1
        defaults = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": f"0 {group}"}
    # Both a/b and a.b name one parameter, as in sysctl(8).
    given = {item.name.replace("/", "."): item.value for item in pod.spec.securityContext.sysctls}
    return tuple((defaults | given).items())
