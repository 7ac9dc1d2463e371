"""ConfigMaps."""

from __future__ import annotations

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.resource import Resource
from pinnace import kinds
from pinnace.admission import config
from pinnace.core.v1.config_pb2 import ConfigMap


def _cells(item: ConfigMap, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, len(item.data) + len(item.binaryData), age(item, now)


_DATA = Column("Data", description="Number of keys, those of binary values included.")
CONFIG_MAP = Resource(kinds.CONFIG_MAP, rules=config.CONFIG_MAP_RULES, columns=Columns((NAME, _DATA, AGE), _cells))
