"""A store and a puller in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodeagent.images.puller import Puller
from nodeagent.images.registry.config import Registries
from nodeagent.images.store import ImageStore
from pinnace.clock import SystemClock

MakePuller = Callable[..., Puller]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


@pytest.fixture
def make(store: ImageStore) -> Iterator[MakePuller]:
    """A puller over the store, with the registries of its arguments."""
    made: list[Puller] = []

    def build(**registries: object) -> Puller:
        made.append(Puller(store, Registries(**registries), SystemClock()))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for puller in made:
        puller.close()


@pytest.fixture
def puller(make: MakePuller) -> Puller:
    return make()
