"""The authorizers of a control plane, in Kubernetes' order: system:masters, nodes, RBAC; and the admission plugin with them."""

from __future__ import annotations

from controlplane.access.authorizer import Masters, Union
from controlplane.access.escalation import Escalation
from controlplane.access.nodes import NodeAuthorizer
from controlplane.access.rbac import RBAC, Rows


class Authorizers(Union):
    """What decides about every request of a control plane."""

    def __init__(self, rows: Rows) -> None:
        self.rbac = RBAC(rows)
        super().__init__((Masters(), NodeAuthorizer(rows), self.rbac))

    def plugin(self) -> Escalation:
        """The admission plugin that keeps users from granting more than they have."""
        return Escalation(self, self.rbac)
