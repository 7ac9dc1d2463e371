"""IngressClasses, and the class of Ingresses that name none.

Source: registry/networking/ingressclass, and the admission plugin DefaultIngressClass.
"""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.plugin import CREATE, Attributes, BasePlugin
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import kinds
from pinnace.admission import ingressclasses
from pinnace.networking.v1.ingressclass_pb2 import IngressClass
from pinnace.wellknown import DEFAULT_INGRESS_CLASS
from pinnace.wellknown import INGRESS_CLASS as CLASS_ANNOTATION


def default_class(tx: Tx) -> str:
    """The newest of the default classes, the first by name of equally old ones; empty without one.

    Untracked: a default is about Ingresses that are created after it."""
    found = [row.message for row in tx.list_untracked(kinds.INGRESS_CLASS)]
    defaults = [item.metadata for item in found if item.metadata.annotations.get(DEFAULT_INGRESS_CLASS) == "true"]
    return min(((-item.creationTimestamp.seconds, item.name) for item in defaults), default=(0, ""))[1]


def _parameters(item: IngressClass) -> str:
    if not item.spec.HasField("parameters"):
        return NONE
    found = item.spec.parameters
    group = f".{found.apiGroup}" if found.HasField("apiGroup") else ""
    return f"{found.kind}{group}/{found.name}"


def _cells(item: IngressClass, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, item.spec.controller, _parameters(item), age(item, now)


_COLUMNS = (
    NAME,
    Column("Controller", description="The controller that serves Ingresses of the class."),
    Column("Parameters", description="An object with further settings for the controller."),
    AGE,
)
INGRESS_CLASS: Resource[IngressClass] = Resource(
    kinds.INGRESS_CLASS, rules=ingressclasses.RULES, columns=Columns(_COLUMNS, _cells)
)


class DefaultIngressClass(BasePlugin):
    """An Ingress that names no class gets the default one."""

    name = "DefaultIngressClass"

    def admit(self, tx: Tx, request: Attributes) -> None:
        if request.resource.kind is not kinds.INGRESS or request.operation != CREATE:
            return
        item = request.message
        if item.spec.HasField("ingressClassName") or CLASS_ANNOTATION in item.metadata.annotations:
            return
        if name := default_class(tx):
            item.spec.ingressClassName = name
