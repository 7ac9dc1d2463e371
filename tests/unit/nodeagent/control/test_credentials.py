"""The node's files, whenever the agent ended between two of them."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control import keys
from nodeagent.control.credentials import Credentials
from pinnace import csr, pki
from pinnace.errors import Internal, Unauthenticated

NOW = 1_700_000_000.0
CA = pki.new_ca(NOW)
NODE = ("system:node:n1", ("system:nodes",))


def answer(request: bytes, lifetime: float = 600.0) -> str:
    return csr.SigningRequest.parse(request, *NODE).sign(CA, now=NOW, lifetime=lifetime, uid="u").decode()


@pytest.fixture
def joined(tmp_path: Path) -> Credentials:
    made = Credentials(tmp_path / "pki")
    request = keys.make("n1")
    made.keep_pending(request.key)
    made.accept(answer(request.csr), ca=CA.certificate)
    return made


def test_a_renewal_replaces_certificate_and_key(joined: Credentials) -> None:
    """Together; the CA stays the one that joining checked."""
    before, request = joined.load(), keys.make("n1")
    joined.keep_pending(request.key)
    assert joined.load() == before
    joined.accept(answer(request.csr))
    after = joined.load()
    assert (after.key, after.ca) == (request.key, CA.certificate)
    assert pki.matches(pki.Pair(after.certificate, after.key))
    assert joined.pending_key() == b""


@pytest.mark.parametrize("step", ["key stored", "certificate stored"])
def test_an_end_in_between_leaves_a_pair(
    step: str, joined: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one, whose request is repeated with the same key, or the new one."""
    before, request = joined.load(), keys.make("n1")
    joined.keep_pending(request.key)
    if step == "certificate stored":

        def crash(source: Path, target: Path) -> None:
            if Path(target).name == "node.key":
                raise KeyboardInterrupt
            real(source, target)

        real = os.replace
        monkeypatch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            joined.accept(answer(request.csr))
        monkeypatch.undo()
    again = Credentials(tmp_path / "pki")
    found = again.load()
    assert pki.matches(pki.Pair(found.certificate, found.key))
    assert found.key == (before.key if step == "key stored" else request.key)
    assert again.pending_key() == (request.key if step == "key stored" else b"")


def test_a_certificate_for_another_key_is_not_stored(joined: Credentials) -> None:
    """Nor one that is none, nor two."""
    before, request, other = joined.load(), keys.make("n1"), keys.make("n1")
    joined.keep_pending(request.key)
    for text in (answer(other.csr), "nonsense", answer(request.csr) * 2, "", "é"):
        with pytest.raises(Unauthenticated):
            joined.accept(text)
    assert joined.load() == before


def test_files_are_for_their_owner(joined: Credentials, tmp_path: Path) -> None:
    """Also the key that is not used yet."""
    joined.keep_pending(keys.make("n1").key)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "pki").iterdir())


def test_a_second_ca_in_the_agent_s_file_is_refused(joined: Credentials, tmp_path: Path) -> None:
    """It would be trusted, although no hash vouched for it."""
    (tmp_path / "pki/ca.crt").write_bytes(CA.certificate + pki.new_ca(NOW).certificate)
    with pytest.raises(Unauthenticated, match="expected exactly one certificate"):
        joined.load()


async def test_keys_are_made_in_another_process(joined: Credentials) -> None:
    """With proof of the old key, and for the pending key when there is one."""
    old, pending = joined.load(), keys.make("n1").key
    made = await keys.make_apart("n1", old=old.key, key=pending)
    assert made.key == pending
    import base64

    assert csr.verify(old.certificate, made.csr, base64.b64decode(made.proof))
    fresh = await keys.make_apart("n1", old=b"", key=b"")
    assert (fresh.key != pending, fresh.proof) == (True, "")


@pytest.mark.parametrize("key", [b"garbage", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n"])
async def test_a_key_that_is_none_is_an_error_and_no_crash(key: bytes) -> None:
    """A file that was damaged; the error does not repeat it."""
    with pytest.raises(Internal, match="making a signing request failed"):
        await keys.make_apart("n1", old=b"", key=key)


async def test_a_signing_request_that_is_cancelled_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed and reaped: nothing of it, nor a pipe to it, is left when the caller continues."""
    made: list[asyncio.subprocess.Process] = []
    create = asyncio.create_subprocess_exec

    async def remember(*words: str, **how: Any) -> asyncio.subprocess.Process:
        made.append(await create(*words, **how))
        return made[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", remember)
    task = asyncio.ensure_future(keys.make_apart("n1", old=b"", key=b""))
    while not made:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert made[0].returncode == -signal.SIGKILL
    transport = made[0]._transport  # type: ignore[attr-defined]
    assert [number for number in range(3) if not transport.get_pipe_transport(number).is_closing()] == []
