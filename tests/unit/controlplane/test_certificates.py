"""The control plane's own certificates: made once, read with suspicion, and renewed while it runs."""

from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path

import pytest
import yaml

from controlplane.access.certificates import Certificates, Lifetimes
from pinnace import certificate, pki
from pinnace.clock import VirtualClock
from pinnace.errors import Invalid
from tests.support.awaiting import eventually
from tests.support.labs import PATIENCE

DAY = pki.DAY


def certificates(folder: Path, clock: VirtualClock) -> Certificates:
    lifetimes = Lifetimes(server=30 * DAY, admin=60 * DAY)
    return Certificates(folder / "pki", clock, endpoint="192.0.2.1:6443", lifetimes=lifetimes)


def admin(folder: Path) -> bytes:
    """The administrator's certificate in the context that kctl reads."""
    config = yaml.safe_load((folder / "admin.yaml").read_text())
    return base64.b64decode(config["users"][0]["user"]["client-certificate-data"])


def good(pair: pki.Pair, ca: pki.Pair, now: float) -> bool:
    validity = certificate.validity(pair.certificate)
    return pki.matches(pair) and pki.signed_by(pair.certificate, ca.certificate) and validity.start <= now <= validity.end


def test_they_are_made_once_for_the_owner_only(tmp_path: Path) -> None:
    """A second start reads the same."""
    clock = VirtualClock()
    first, second = certificates(tmp_path, clock), certificates(tmp_path, clock)
    assert (first.ca, first.server) == (second.ca, second.server)
    files = [*(tmp_path / "pki").iterdir(), tmp_path / "admin.yaml"]
    assert len(files) == 7
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*files, tmp_path / "pki"])


async def test_they_outlive_their_lifetime_without_a_restart(tmp_path: Path) -> None:
    """A year of a server certificate of 30 days and an administrator's of 60; the CA stays."""
    clock = VirtualClock()
    own = certificates(tmp_path, clock)
    ca, seen = own.ca, set()
    for _ in range(365):
        await clock.advance(DAY)
        own.renew()
        now = clock.now()
        assert good(own.server, ca, now)
        assert certificate.validity(admin(tmp_path)).end > now + 10 * DAY
        seen.add(own.server.certificate)
    assert own.ca == ca
    assert 365 / 30 < len(seen) < 365 / 15


async def test_renewal_waits_for_its_time_and_looks_at_the_clock_often(tmp_path: Path) -> None:
    """A machine may sleep and its clock may be set; nothing is issued early."""
    clock = VirtualClock()
    start = clock.now()
    own = certificates(tmp_path, clock)
    first = own.server
    task = asyncio.ensure_future(own.run())
    for hours in (1, 24 * 19):
        for _ in range(hours):
            await clock.advance(3600)
            await asyncio.sleep(0.001)
        assert own.server == first
    async with asyncio.timeout(30 * PATIENCE):
        # Renewal takes a thread's time, which the clock does not know.
        while own.server == first:
            await clock.advance(3600)
            await asyncio.sleep(0.001)
    assert clock.now() > start + 20 * DAY
    task.cancel()


async def test_a_disk_that_is_full_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The old certificate serves meanwhile."""
    clock = VirtualClock()
    own = certificates(tmp_path, clock)
    first = own.server
    await clock.advance(21 * DAY)
    moved = tmp_path / "elsewhere"
    (tmp_path / "pki").rename(moved)
    (tmp_path / "pki").write_text("in the way")
    task = asyncio.ensure_future(own.run())
    await eventually(lambda: "certificate_renewal_failed" in caplog.text)
    assert own.server == first
    (tmp_path / "pki").unlink()
    moved.rename(tmp_path / "pki")
    await eventually(lambda: own.server != first, clock=clock, step=5)
    task.cancel()


@pytest.mark.parametrize("damage", ["mismatch", "garbage", "another ca", "no key", "not yet valid"])
def test_a_damaged_server_certificate_is_replaced(damage: str, tmp_path: Path) -> None:
    """A start never fails on what can be made again, such as two files of which one was written before a crash."""
    clock = VirtualClock()
    own = certificates(tmp_path, clock)
    crt, key = tmp_path / "pki/server.crt", tmp_path / "pki/server.key"
    other = pki.issue(own.ca, pki.SERVER_NAME, (), now=clock.now(), hosts=(pki.SERVER_NAME,))
    late = pki.issue(own.ca, pki.SERVER_NAME, (), now=clock.now() + 30 * DAY, hosts=(pki.SERVER_NAME,))
    foreign = pki.issue(pki.new_ca(clock.now()), pki.SERVER_NAME, (), now=clock.now(), hosts=(pki.SERVER_NAME,))
    match damage:
        case "mismatch":
            key.write_bytes(other.key)
        case "garbage":
            crt.write_bytes(b"garbage")
            key.write_bytes(b"garbage")
        case "another ca":
            crt.write_bytes(foreign.certificate)
            key.write_bytes(foreign.key)
        case "no key":
            key.unlink()
        case _:
            crt.write_bytes(late.certificate)
            key.write_bytes(late.key)
    again = certificates(tmp_path, clock)
    assert again.ca == own.ca
    assert good(again.server, own.ca, clock.now())


def test_a_second_ca_in_the_file_is_refused(tmp_path: Path) -> None:
    """Otherwise clients of both would be let in, while the fingerprint is of one."""
    own = certificates(tmp_path, VirtualClock())
    (tmp_path / "pki/ca.crt").write_bytes(own.ca.certificate + pki.new_ca(0.0).certificate)
    with pytest.raises(Invalid, match=r"ca\.crt: expected exactly one certificate"):
        certificates(tmp_path, VirtualClock())


@pytest.mark.parametrize("missing", ["ca.crt", "ca.key"])
def test_a_ca_that_is_incomplete_is_never_replaced(missing: str, tmp_path: Path) -> None:
    """All nodes and clients trust it."""
    certificates(tmp_path, VirtualClock())
    (tmp_path / "pki" / missing).unlink()
    with pytest.raises(Invalid, match=f"{missing} is missing: restore it"):
        certificates(tmp_path, VirtualClock())
    assert not (tmp_path / "pki" / missing).exists()


def test_a_ca_of_another_key_is_refused(tmp_path: Path) -> None:
    """A backup that was restored by half."""
    certificates(tmp_path, VirtualClock())
    (tmp_path / "pki/ca.key").write_bytes(pki.new_ca(0.0).key)
    with pytest.raises(Invalid, match="is not the key of"):
        certificates(tmp_path, VirtualClock())


def test_the_end_of_the_ca_is_announced_and_then_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From a year before; afterwards the control plane says what to do instead of serving what no one accepts."""
    clock = VirtualClock()
    certificates(tmp_path, clock)
    late = VirtualClock(clock.now() + pki.CA_LIFETIME - 300 * DAY)
    with caplog.at_level(logging.WARNING):
        certificates(tmp_path, late).renew()
    assert "ca_expires days=300" in caplog.text
    with pytest.raises(Invalid, match=r"expired .* deploy/README\.md, The CA"):
        certificates(tmp_path, VirtualClock(clock.now() + pki.CA_LIFETIME + 1))


def test_a_server_that_gets_another_name_gets_another_certificate(tmp_path: Path) -> None:
    """As that of an older cluster whose API becomes a Service; nothing else is made anew."""
    clock = VirtualClock()
    before = certificates(tmp_path, clock)
    names = ("kubernetes.default.svc.cluster.local", "10.96.0.1")
    lifetimes = Lifetimes(server=30 * DAY, admin=60 * DAY)
    after = Certificates(tmp_path / "pki", clock, endpoint="192.0.2.1:6443", lifetimes=lifetimes, names=names)
    assert not pki.hosts_of(before.server.certificate).issuperset(names)
    assert pki.hosts_of(after.server.certificate).issuperset({*names, "kubernetes.default.svc"})
    assert after.ca == before.ca
    again = Certificates(tmp_path / "pki", clock, endpoint="192.0.2.1:6443", lifetimes=lifetimes, names=names)
    assert again.server == after.server
