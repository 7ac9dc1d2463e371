"""RuntimeClasses, and what a pod takes over from the one that it names.

Source: the RuntimeClass admission plugin.
"""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.plugin import CREATE, DELETE, Attributes, BasePlugin
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import kinds
from pinnace.admission import runtimeclasses
from pinnace.node.v1.runtimeclass_pb2 import RuntimeClass


def _cells(item: RuntimeClass, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, item.handler, age(item, now)


_HANDLER = Column("Handler", description="Name of the runtime on the nodes.")
RUNTIME_CLASS = Resource(
    kinds.RUNTIME_CLASS, rules=runtimeclasses.RULES, columns=Columns((NAME, _HANDLER, AGE), _cells), creates_on_update=True
)


class RuntimeClassPlugin(BasePlugin):
    """Overhead, node selector and tolerations of a pod's class."""

    name = "RuntimeClass"

    def admit(self, tx: Tx, request: Attributes) -> None:
        if request.resource.kind is not kinds.POD or request.operation == DELETE:
            return
        pod = request.message
        name = pod.spec.runtimeClassName
        found = tx.get(kinds.RUNTIME_CLASS, "", name) if name else None
        runtimeclasses.enter(pod, found, new=request.operation == CREATE)
