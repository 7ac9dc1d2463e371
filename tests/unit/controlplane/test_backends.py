"""Which store a control plane opens at its start, and when it refuses to."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.backends import open_backend
from controlplane.config import Config
from controlplane.store.backend import Txn, Write
from controlplane.store.sqlitefile import Damaged

KEY = "/registry/pods/default/web"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def filled(state: Path) -> None:
    """A control plane ran here: an object in the store, then a certificate of the server."""
    backend = open_backend(Config(state, force_new=True))
    await backend.commit([Txn((Write(KEY, b"v"),))])
    await backend.close()
    (state / "pki").mkdir(exist_ok=True)
    (state / "pki/server.crt").write_text("a certificate")


async def keys(state: Path, *, force_new: bool = False) -> list[str]:
    backend = open_backend(Config(state, force_new=force_new))
    try:
        return [item.key for item in (await backend.load("/")).items]
    finally:
        await backend.close()


async def test_a_first_start_begins_with_an_empty_store(state: Path) -> None:
    """Also next to the CA that `kctl lab up` made before."""
    (state / "pki").mkdir(parents=True)
    (state / "pki/ca.crt").write_text("a CA")
    assert await keys(state) == []
    assert await keys(state) == []


@pytest.mark.parametrize("how", ["absent", "empty", "without objects"])
async def test_a_lost_store_next_to_its_certificates_is_refused(state: Path, how: str) -> None:
    """An empty cluster in its place would have the agents remove every pod. The way out is named, and works."""
    await filled(state)
    (state / "store.db").unlink()
    if how == "empty":
        (state / "store.db").touch()
    if how == "without objects":
        (state / "pki/server.crt").unlink()
        assert await keys(state) == []
        (state / "pki/server.crt").write_text("a certificate")
    for _ in range(2):
        with pytest.raises(Damaged, match=r"store\.db is absent or empty.*--force-new"):
            open_backend(Config(state))
    assert await keys(state, force_new=True) == []


async def test_force_new_leaves_a_sound_store_alone(state: Path) -> None:
    """So the flag may stay on the command line."""
    await filled(state)
    assert await keys(state, force_new=True) == [KEY]


async def test_force_new_keeps_a_damaged_store_under_another_name(state: Path) -> None:
    """Each time under a new one."""
    for _ in range(2):
        await filled(state)
        damage = (state / "store.db").read_bytes()[:4096] + b"\xff" * 4096
        (state / "store.db").write_bytes(damage)
        with pytest.raises(Damaged, match="--force-new"):
            open_backend(Config(state))
        assert await keys(state, force_new=True) == []
        assert damage in [file.read_bytes() for file in state.glob("store.db.old?")]
