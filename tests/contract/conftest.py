"""The three backends, each fresh for its test (etcd is a real server, one for the session), and machines with a runtime."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from controlplane.store.backend import Backend
from controlplane.store.etcd import EtcdBackend
from controlplane.store.memory import MemoryBackend
from controlplane.store.sqlite import SQLiteBackend
from tests.support.etcdserver import serving
from tests.support.runtimes import REAL, Node, machine

_roots = (f"/test{number}" for number in itertools.count())

Opener = Callable[[], Backend]


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a real etcd server."""
    with serving(tmp_path_factory.mktemp("etcd")) as endpoint:
        yield endpoint


class Remembered:
    """A state in memory that survives what its users call a close."""

    def __init__(self) -> None:
        self._backend = MemoryBackend()

    def open(self) -> Backend:
        return self._backend


def opener(name: str, request: pytest.FixtureRequest, folder: Path) -> Opener:
    """A function that opens one and the same state each time."""
    if name == "memory":
        return Remembered().open
    if name == "sqlite":
        return lambda: SQLiteBackend(folder / "state.db")
    endpoint, root = request.getfixturevalue("etcd"), next(_roots)
    return lambda: EtcdBackend([endpoint], root=root)


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    opened = opener(request.param, request, tmp_path)()
    yield opened
    await opened.close()


@pytest.fixture(params=["sqlite", "etcd"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens a backend whose state outlives it."""
    return opener(request.param, request, tmp_path)


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Opener]:
    """Each call makes the opener of a new, empty state."""
    numbers = itertools.count()
    return lambda: opener(request.param, request, tmp_path / str(next(numbers)))


@pytest.fixture(params=[*REAL, "fake"])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    async with machine(request.param) as made:
        yield made


@pytest.fixture(params=REAL)
async def container(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    """A node whose runtime isolates."""
    async with machine(request.param) as made:
        yield made
