"""Kinds that come and go with the objects that define them, as the cache follows the store."""

from __future__ import annotations

from typing import Any

from controlplane import resources
from controlplane.controllers.customresources import accept
from controlplane.store.backend import Item, Snapshot
from controlplane.store.watchcache import WatchCache
from pinnace import codec, kinds
from tests.support.customkinds import CRONTAB, definition

CRD = kinds.CUSTOM_RESOURCE_DEFINITION


def established(**how: Any) -> Item:
    manifest = definition(**how)
    item = codec.decode(CRD.cls, {"metadata": manifest["metadata"], "spec": manifest["spec"]})
    accept(item, now=0)
    return Item(CRD.key("", item.metadata.name), item.SerializeToString(), 1)


def test_a_definition_that_was_deleted_during_a_gap_is_served_no_longer() -> None:
    """Its names are free for another definition of the same snapshot."""
    cache = WatchCache(resources.built_in())
    cache.replace(Snapshot((established(),), 1))
    assert cache.kinds.find(CRONTAB.api_version, "CronTab").plural == "crontabs"
    cache.replace(Snapshot((established(plural="a-crontabs"),), 5))
    assert cache.kinds.find(CRONTAB.api_version, "CronTab").plural == "a-crontabs"
    cache.replace(Snapshot((), 9))
    assert [kind.plural for kind in cache.kinds if kind.group == CRONTAB.group] == []
