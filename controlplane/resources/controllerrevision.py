"""ControllerRevisions: what controllers keep of earlier templates. Source: registry/apps/controllerrevision."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age
from controlplane.resources.resource import Resource
from pinnace import kinds
from pinnace.admission import controllerrevisions
from pinnace.apps.v1.controllerrevision_pb2 import ControllerRevision


def _cells(item: ControllerRevision, now: float) -> tuple[Cell, ...]:
    owner = next((reference for reference in item.metadata.ownerReferences if reference.controller), None)
    group = owner.apiVersion.rpartition("/")[0] if owner is not None else ""
    controller = f"{owner.kind.lower()}{'.' + group if group else ''}/{owner.name}" if owner is not None else NONE
    return item.metadata.name, controller, item.revision, age(item, now)


_COLUMNS = (
    NAME,
    Column("Controller", description="The workload that the state belongs to."),
    Column("Revision", "integer", description="Number of the state."),
    AGE,
)
CONTROLLER_REVISION = Resource(kinds.CONTROLLER_REVISION, rules=controllerrevisions.RULES, columns=Columns(_COLUMNS, _cells))
