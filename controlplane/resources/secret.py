"""Secrets."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource
from pinnace import kinds
from pinnace.admission import config
from pinnace.core.v1.config_pb2 import Secret


def _cells(item: Secret, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, item.type, len(item.data), age(item, now)


_TYPE = Column("Type", description="Type of the data, which says what keys there are.")
_DATA = Column("Data", description="Number of keys.")
SECRET = Resource(
    kinds.SECRET,
    rules=config.SECRET_RULES,
    selectable={"type": lambda item: item.type},
    columns=Columns((NAME, _TYPE, _DATA, AGE), _cells),
    # A manifest that a client keeps in an annotation has the data too.
    concealed=("data", "stringData", "metadata.annotations"),
)
