"""A control plane's flags for TLS to etcd, with a server that demands a client certificate."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import flags
from controlplane.backends import open_backend
from controlplane.store.backend import Backend
from pinnace import pki
from pinnace.errors import Unavailable
from tests.contract.steps import ROOT, WEB, put, wrote
from tests.support.etcdserver import serving


def written(folder: Path, name: str, pair: pki.Pair) -> None:
    (folder / f"{name}.crt").write_bytes(pair.certificate)
    (folder / f"{name}.key").write_bytes(pair.key)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates of a CA, its server and its client, and those of another CA."""
    folder, now = tmp_path_factory.mktemp("pki"), time.time()
    for prefix in ("", "other-"):
        ca = pki.new_ca(now)
        written(folder, f"{prefix}ca", ca)
        written(folder, f"{prefix}client", pki.issue(ca, "control plane", (), now=now))
    ca = pki.Pair((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    written(folder, "server", pki.issue(ca, "etcd", (), now=now, hosts=("127.0.0.1",)))
    return folder


@pytest.fixture(scope="module")
def server(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tls = ssl.create_default_context(cafile=str(files / "ca.crt"))
    tls.load_cert_chain(files / "client.crt", files / "client.key")
    names = {"cert-file": "server.crt", "key-file": "server.key", "trusted-ca-file": "ca.crt"}
    words = ["--client-cert-auth", *(f"--{flag}={files / name}" for flag, name in names.items())]
    with serving(tmp_path_factory.mktemp("etcd"), tls=tls, flags=words) as endpoint:
        yield endpoint


def opened(server: str, files: Path, **names: str) -> Backend:
    """The backend of a control plane with these files: `cafile="ca.crt"`."""
    words = [f"--etcd-{flag}={files / name}" for flag, name in names.items()]
    return open_backend(flags.parse(["--advertise=127.0.0.1", f"--store=etcd://{server}", *words]))


async def test_a_store_over_tls_is_written_and_read(server: str, files: Path) -> None:
    """The client shows its certificate, and verifies the server's."""
    backend = opened(server, files, cafile="ca.crt", certfile="client.crt", keyfile="client.key")
    try:
        revision = await wrote(backend, put(WEB))
        assert [(item.key, item.revision) for item in (await backend.load(ROOT)).items] == [(WEB, revision)]
    finally:
        await backend.close()


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"cafile": "ca.crt"},
        {"cafile": "other-ca.crt", "certfile": "client.crt", "keyfile": "client.key"},
        {"cafile": "ca.crt", "certfile": "other-client.crt", "keyfile": "other-client.key"},
    ],
    ids=["plaintext", "no client certificate", "server of another CA", "client of another CA"],
)
async def test_no_other_client_reads_the_store(server: str, files: Path, names: dict[str, str]) -> None:
    """An error, in time; and this side does not talk to a server that it cannot verify."""
    backend = opened(server, files, **names)
    try:
        with pytest.raises(Unavailable):
            await backend.load(ROOT)
    finally:
        await backend.close()


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ({"cafile": "absent.crt"}, "absent.crt: no such file"),
        ({"cafile": "ca.key"}, "ca.key"),
        ({"certfile": "client.crt", "keyfile": "server.key"}, "server.key"),
        ({"certfile": "client.key", "keyfile": "client.crt"}, "client.key"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(files: Path, names: dict[str, str], named: str) -> None:
    """At the start, instead of members that never answer."""
    with pytest.raises(Unavailable, match=named):
        opened("127.0.0.1:1", files, **names)
