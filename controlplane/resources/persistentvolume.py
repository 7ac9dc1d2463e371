"""PersistentVolumes. The controllers are `controlplane.controllers.volumebinder` and `volumeprotection`.

Source: registry/core/persistentvolume.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age, wide
from controlplane.resources.resource import Resource, Strategy
from pinnace import kinds, persistentvolumes
from pinnace.admission import persistentvolumes as rules
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.persistentvolumes import DELETE, FAILED, PENDING, RELEASED, SHORT_MODES, STORAGE
from pinnace.wellknown import SELECTED_NODE

UNSET = "<unset>"
# Indexes: `namespace/name` of the claim; the class, of volumes that no claim has; the node that is to delete the data.
CLAIM, FREE, RECLAIMED_ON = "spec.claimRef", "freeOfClass", "reclaimedOn"


class _Strategy(Strategy[PersistentVolume]):
    def prepare_for_create(self, new: PersistentVolume) -> None:
        new.status.phase = PENDING


def modes_text(modes: Iterable[str]) -> str:
    """`RWO,ROX`, in Kubernetes' order."""
    given = set(modes)
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in given)


def _claim(item: PersistentVolume) -> Sequence[str]:
    ref = item.spec.claimRef
    return (f"{ref.namespace}/{ref.name}",) if item.spec.HasField("claimRef") else ()


def _free(item: PersistentVolume) -> Sequence[str]:
    return () if item.spec.HasField("claimRef") else (persistentvolumes.class_of_volume(item),)


def reclaiming_node(item: PersistentVolume) -> str:
    """The node whose agent is to delete the data of a volume; empty for none."""
    released = item.status.phase in (RELEASED, FAILED) and item.spec.persistentVolumeReclaimPolicy == DELETE
    return item.metadata.annotations.get(SELECTED_NODE, "") if released and persistentvolumes.is_local_path(item) else ""


def _reclaimed_on(item: PersistentVolume) -> Sequence[str]:
    node = reclaiming_node(item)
    return (node,) if node else ()


def _cells(item: PersistentVolume, now: float) -> tuple[Cell, ...]:
    spec = item.spec
    phase = "Terminating" if item.metadata.deletionTimestamp.seconds else item.status.phase
    policy = spec.persistentVolumeReclaimPolicy
    size = spec.capacity[STORAGE].string if STORAGE in spec.capacity else ""
    return (
        item.metadata.name, size, modes_text(spec.accessModes), policy, phase, "".join(_claim(item)),
        persistentvolumes.class_of_volume(item), spec.volumeAttributesClassName or UNSET, item.status.reason, age(item, now),
        spec.volumeMode or UNSET,
    )  # fmt: skip


_COLUMNS = (
    NAME,
    Column("Capacity", description="Size of the volume."),
    Column("Access Modes", description="How the volume can be shared."),
    Column("Reclaim Policy", description="What happens to the volume once its claim is deleted."),
    Column("Status", description="Whether the volume is free, in use or released."),
    Column("Claim", description="Namespace and name of the claim that has the volume."),
    Column("StorageClass", description="Storage class of the claims that the volume is for."),
    Column("VolumeAttributesClass", description="Class of the volume's attributes."),
    Column("Reason", description="Why the volume is in its state."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
)
PERSISTENT_VOLUME = Resource(
    kinds.PERSISTENT_VOLUME,
    rules=rules.RULES,
    strategy=_Strategy(),
    returns_deleted=True,
    own_indexes={CLAIM: _claim, FREE: _free, RECLAIMED_ON: _reclaimed_on},
    columns=Columns(_COLUMNS, _cells),
)
