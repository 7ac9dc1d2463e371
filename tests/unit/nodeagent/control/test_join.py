"""Joining, against servers that lie: whom the host trusts, and what it shows them."""

from __future__ import annotations

import io
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nodeagent.__main__ import _parse
from nodeagent.control.credentials import Credentials
from nodeagent.control.join import join, read_token
from pinnace import certificate, csr, pki
from pinnace.clock import SystemClock
from pinnace.errors import ApiError, BadRequest, Unauthenticated

TOKEN = "abcdef.0123456789abcdef"
NOW = time.time()
REAL, ROGUE = pki.new_ca(NOW), pki.new_ca(NOW)


@dataclass
class Impostor:
    """An HTTPS server that answers /ca.pem with `ca`, and notes what else it was asked."""

    ca: bytes
    address: str = ""
    bodies: list[bytes] = field(default_factory=list)
    answer: dict[str, str] = field(default_factory=lambda: {"server": "192.0.2.66:6443"})


@contextmanager
def impostor(folder: Path, ca: bytes, *, signer: pki.Pair = ROGUE) -> Iterator[Impostor]:
    """Its own certificate has the control plane's name, and is signed by `signer`."""
    said = Impostor(ca)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(said.ca)

        def do_POST(self) -> None:
            said.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            asked = csr.SigningRequest.parse(
                json.loads(said.bodies[-1])["csr"].encode(), "system:node:victim", ("system:nodes",)
            )
            signed = asked.sign(REAL, now=NOW, lifetime=600.0).decode()
            self._answer(json.dumps({"certificate": signed, "ca": ROGUE.certificate.decode(), **said.answer}).encode())

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    pair = pki.issue(signer, pki.SERVER_NAME, (), now=NOW, hosts=(pki.SERVER_NAME,))
    (folder / "server.pem").write_bytes(pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        said.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield said
        finally:
            server.shutdown()
            thread.join()


def hijack(server: Impostor, folder: Path, *, ca_hash: str = "") -> None:
    join(
        server.address, node="victim", token=TOKEN, folder=folder / "pki", clock=SystemClock(),
        ca_hash=ca_hash or certificate.fingerprint(REAL.certificate),
    )  # fmt: skip


FORGERIES: dict[str, Callable[[], bytes]] = {
    "the real CA, then the impostor's": lambda: REAL.certificate + ROGUE.certificate,
    "the impostor's CA, then the real one": lambda: ROGUE.certificate + REAL.certificate,
    "both in one block": lambda: REAL.certificate.replace(b"-----END CERTIFICATE-----\n", b"") + ROGUE.certificate,
    "base64 that goes on after its padding": lambda: REAL.certificate.replace(
        b"\n-----END", b"\n" + b"\n".join(ROGUE.certificate.splitlines()[1:-1]) + b"\n-----END"
    ),
    "a CA that only looks like it": lambda: ROGUE.certificate,
    "something else": lambda: b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_impostor_gets_no_token_and_no_trust(forgery: str, tmp_path: Path) -> None:
    """The attack on joining: whatever follows the CA whose hash the administrator passed on, nothing is sent or stored."""
    with impostor(tmp_path, FORGERIES[forgery]()) as server, pytest.raises(Unauthenticated):
        hijack(server, tmp_path)
    assert server.bodies == []
    assert not (tmp_path / "pki").exists()


def test_the_real_ca_does_not_vouch_for_the_impostor(tmp_path: Path) -> None:
    """With the true /ca.pem relayed, the second connection fails, before the token is sent."""
    with impostor(tmp_path, REAL.certificate) as server, pytest.raises(ApiError, match="certificate verify failed"):
        hijack(server, tmp_path)
    assert server.bodies == []


def test_the_answer_adds_no_ca(tmp_path: Path) -> None:
    """What a control plane names as the CA after its hash was checked is not stored."""
    with impostor(tmp_path, REAL.certificate, signer=REAL) as server:
        hijack(server, tmp_path)
    assert (tmp_path / "pki/ca.crt").read_bytes() == REAL.certificate
    assert len(server.bodies) == 1


@pytest.mark.parametrize("ca_hash", ["sha256:0", "é" * 71, "md5:" + "0" * 64])
def test_a_malformed_hash_is_named(ca_hash: str, tmp_path: Path) -> None:
    """Before anything is asked of anyone."""
    with impostor(tmp_path, REAL.certificate) as server, pytest.raises(BadRequest, match="--ca-hash"):
        hijack(server, tmp_path, ca_hash=ca_hash)


@pytest.mark.parametrize("answer", [
    {"certificate": REAL.certificate.decode()}, {"certificate": "nonsense"}, {"certificate": ""}, {"server": "nowhere"}, {"server": ""},
])  # fmt: skip
def test_an_answer_that_makes_no_node_leaves_nothing_that_looks_like_one(answer: dict[str, str], tmp_path: Path) -> None:
    """A certificate for another key, none at all, or no address to dial."""
    with impostor(tmp_path, REAL.certificate, signer=REAL) as server:
        server.answer = {"server": "192.0.2.66:6443", **answer}
        with pytest.raises(ApiError):
            hijack(server, tmp_path)
    with pytest.raises(FileNotFoundError):
        Credentials(tmp_path / "pki").load()


def test_what_joining_stores_is_a_pair(tmp_path: Path) -> None:
    """Of the CA that was hashed; for its owner only."""
    with impostor(tmp_path, REAL.certificate, signer=REAL) as server:
        hijack(server, tmp_path)
    pair = Credentials(tmp_path / "pki").load()
    assert pair.ca == REAL.certificate
    assert pki.matches(pki.Pair(pair.certificate, pair.key))
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "pki").iterdir())


@pytest.mark.parametrize(("text", "found"), [("", 0), ("a b", 2), ("\n", 0)])
def test_a_token_file_holds_one_token(text: str, found: int, tmp_path: Path) -> None:
    """The message says where it was looked for, not what was there."""
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(BadRequest, match=f"expected one join token, found {found} words"):
        read_token(str(path), io.StringIO())
    with pytest.raises(BadRequest, match="No such file"):
        read_token(str(tmp_path / "none"), io.StringIO())


def test_a_token_comes_from_a_file_or_standard_input(tmp_path: Path) -> None:
    """Of standard input a line, so that a terminal needs no end of file."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(str(tmp_path / "token"), io.StringIO()) == TOKEN
    assert read_token("-", io.StringIO(f"{TOKEN}\nmore\n")) == TOKEN


def test_a_token_on_the_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Every user of the host may have read it: the message says to make a new one, and does not repeat it."""
    with pytest.raises(SystemExit):
        _parse(["join", "192.0.2.1:6444", "--token", TOKEN, "--ca-hash", certificate.fingerprint(REAL.certificate)])
    error = capsys.readouterr().err
    assert "--token-file" in error
    assert TOKEN not in error


@pytest.mark.parametrize("words", [["--log-lev=DEBUG", "run"], ["run", "--addr=192.0.2.1"]])
def test_a_flag_is_not_abbreviated(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As of the control plane: before the command and after it."""
    with pytest.raises(SystemExit):
        _parse(words)
    assert "unrecognized arguments" in capsys.readouterr().err
