"""Services without external IPs, where an operator wants that: who may write a Service could lead any address to his pods.

Off unless it is enabled, as in Kubernetes. What a Service had before it may keep.
Source: plugin/pkg/admission/network/denyserviceexternalips (CVE-2020-8554).
"""

from __future__ import annotations

from controlplane.resources.plugin import DELETE, Attributes, BasePlugin
from controlplane.store import Tx
from pinnace import kinds
from pinnace.errors import Forbidden

NAME = "DenyServiceExternalIPs"


class DenyServiceExternalIPs(BasePlugin):
    """No new entries of externalIPs."""

    name = NAME

    def validate(self, tx: Tx, request: Attributes) -> None:
        if request.resource.kind is not kinds.SERVICE or request.operation == DELETE or request.subresource:
            return
        new, old = request.message, request.old
        if set(new.spec.externalIPs) - set(old.spec.externalIPs if old is not None else ()):
            name, plural = new.metadata.name[:253], kinds.SERVICE.resource
            text = f'{plural} "{name}" is forbidden: Use of external IPs is denied by admission control.'
            raise Forbidden(text, kind=plural, name=name)
