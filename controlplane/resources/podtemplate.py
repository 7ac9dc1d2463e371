"""PodTemplates."""

from __future__ import annotations

from controlplane.resources.columns import NAME, Cell, Column, Columns, labels_text
from controlplane.resources.resource import Resource, Strategy
from pinnace import kinds
from pinnace.admission import podtemplates
from pinnace.core.v1.podtemplate_pb2 import PodTemplate
from pinnace.equality import same


class _Strategy(Strategy[PodTemplate]):
    def prepare_for_create(self, new: PodTemplate) -> None:
        new.metadata.generation = 1

    def prepare_for_update(self, new: PodTemplate, old: PodTemplate) -> None:
        """The template is what a spec is elsewhere."""
        if not same(new.template, old.template):
            new.metadata.generation = old.metadata.generation + 1

    def warnings(self, new: PodTemplate, old: PodTemplate | None) -> list[str]:
        return podtemplates.warnings(new.template, "template") if old is None or old.template != new.template else []


def _cells(item: PodTemplate, now: float) -> tuple[Cell, ...]:
    containers = item.template.spec.containers
    names, images = (",".join(getattr(container, field) for container in containers) for field in ("name", "image"))
    return item.metadata.name, names, images, labels_text(item.template.metadata.labels)


_COLUMNS = (
    NAME,
    Column("Containers", description="Names of the template's containers."),
    Column("Images", description="Images of the template's containers."),
    Column("Pod Labels", description="Labels of pods that are made from the template."),
)
POD_TEMPLATE = Resource(
    kinds.POD_TEMPLATE, rules=podtemplates.RULES, strategy=_Strategy(), columns=Columns(_COLUMNS, _cells), returns_deleted=True
)
