"""Manifests behind URLs, built from kustomizations, and raw requests of the REST API: from a server on loopback with TLS."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import filenames, main, rawrequest, sources
from cli.contexts import Context
from cli.flags import Kustomization
from pinnace import pki
from pinnace.errors import BadRequest, Forbidden, NotFound, Unavailable
from tests.support.kctlserver import Server
from tests.support.labs import PATIENCE

CONFIG_MAP = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
FORBIDDEN = json.dumps({"kind": "Status", "reason": "Forbidden", "message": "no"}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """`/redirect?URL`, `/slow`, `/big`, `/forbidden`, `/user` or a manifest."""

    def do_GET(self) -> None:
        path, _, argument = self.path.partition("?")
        if path == "/redirect":
            self.send_response(302)
            self.send_header("Location", argument)
            self.end_headers()
            return
        codes = {"/none": 404, "/forbidden": 403}
        self.send_response(codes.get(path, 200))
        self.end_headers()
        if path == "/slow":
            for _ in range(50):
                self.wfile.write(b"#")
                time.sleep(0.05)
        elif path == "/user":
            [name] = [value for ((key, value),) in self.connection.getpeercert()["subject"] if key == "commonName"]  # type: ignore[attr-defined]
            self.wfile.write(name.encode())
        else:
            self.wfile.write({"/forbidden": FORBIDDEN, "/big": b"#" * 100}.get(path, CONFIG_MAP))

    def log_message(self, *_: Any) -> None:
        """Not to stderr."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server's, with a certificate that the environment trusts; clients may have one of the same CA."""
    now = time.time()
    ca = pki.new_ca(now)
    server_pair = pki.issue(ca, "server", (), now=now, hosts=("127.0.0.1",))
    client_pair = pki.issue(ca, "jane", (), now=now)
    (tmp_path / "ca.pem").write_bytes(ca.certificate)
    (tmp_path / "server.pem").write_bytes(server_pair.certificate + server_pair.key)
    (tmp_path / "client.crt").write_bytes(client_pair.certificate)
    (tmp_path / "client.key").write_bytes(client_pair.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    tls.load_cert_chain(tmp_path / "server.pem")
    tls.verify_mode = ssl.CERT_OPTIONAL
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def context(url: str, folder: Path) -> Context:
    ca, certificate, key = ((folder / name).read_bytes() for name in ("ca.pem", "client.crt", "client.key"))
    return Context("test", "127.0.0.1:1", "default", ca, certificate, key, rest=url)


def test_a_manifest_is_downloaded(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file among others, also behind a redirect; an error names the URL, and the others are created."""
    server = Server()
    monkeypatch.setattr("cli.flags.client", lambda args: server)
    assert main._exit_code(["create", "-f", f"{url}/redirect?{url}/c.yaml"]) == 0
    assert capsys.readouterr().out == "configmap/c created\n"
    assert main._exit_code(["create", "-f", f"{url}/none", "-f", f"{url}/c.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "configmap/c created\n"
    assert captured.err == f"error: {url}/none: unable to read URL, server reported 404 Not Found\n"


def test_downloads_are_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By size, and by time though bytes still come."""
    monkeypatch.setattr("pinnace.manifest.MAX_BYTES", 10)
    assert len(sources.download(f"{url}/big")) == 11
    monkeypatch.setattr(sources, "DOWNLOAD_WITHIN", 0.3)
    monkeypatch.setattr("pinnace.manifest.MAX_BYTES", 1000)
    started = time.monotonic()
    with pytest.raises(OSError, match="unable to read URL: the download took more than 0 s"):
        sources.download(f"{url}/slow")
    assert time.monotonic() - started < 2 * PATIENCE


def test_only_https_is_read(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not after a redirect either, and only from a server that is trusted."""
    with pytest.raises(BadRequest, match="only https URLs are read"):
        filenames.expand(["http://x/y"])
    with pytest.raises(OSError, match=r"redirected to http://127\.0\.0\.1/x, which is not an https URL"):
        sources.download(f"{url}/redirect?http://127.0.0.1/x")
    with pytest.raises(OSError, match="is not allowed"):
        sources.download(f"{url}/redirect?file:///etc/passwd")
    (tmp_path / "other.pem").write_bytes(pki.new_ca(time.time()).certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        sources.download(url)


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_kustomization_is_built_by_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By kustomize, else by kubectl; the objects are those that it prints."""
    monkeypatch.setattr("cli.flags.client", lambda args: Server())
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert main._exit_code(["create", "-k", "dir"]) == 1
    assert capsys.readouterr().err.startswith("error: -k needs kustomize or kubectl in $PATH")
    document = """echo "{apiVersion: v1, kind: ConfigMap, metadata: {name: $1-$3}}\""""
    program(programs, "kubectl", document)
    assert main._exit_code(["create", "-k", "dir"]) == 0
    assert capsys.readouterr().out == "configmap/kustomize-dir created\n"
    program(programs, "kustomize", document)
    assert main._exit_code(["create", "-k", "dir"]) == 0
    assert capsys.readouterr().out == "configmap/build-dir created\n"
    program(programs, "kustomize", "echo Error: no such base >&2; exit 1")
    assert main._exit_code(["create", "-k", "dir"]) == 1
    assert capsys.readouterr().err.endswith("kustomize failed: no such base\n")
    assert main._exit_code(["create", "-k", "dir", "-f", "x"]) == 1
    assert capsys.readouterr().err == "error: only one of -f or -k can be specified, and -k once\n"


def test_a_build_has_a_limit_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it may download."""
    program(tmp_path / "programs", "kustomize", "exec /bin/sleep 30")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.setattr(sources, "BUILD_WITHIN", 0.2)
    with pytest.raises(BadRequest, match="the build took more than"):
        sources.build(Kustomization("dir"))


def test_a_raw_request_is_the_contexts(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its client certificate; the body is printed as it is."""
    monkeypatch.setattr("cli.flags.client", lambda args: SimpleNamespace(context=context(url, tmp_path)))
    assert main._exit_code(["get", "--raw", "/user"]) == 0
    assert capfd.readouterr().out == "jane"
    assert main._exit_code(["get", "pods", "--raw", "/user"]) == 1
    assert capfd.readouterr().err.startswith("error: arguments may not be passed when --raw is specified")


def test_errors_of_raw_requests_are_the_servers(url: str, tmp_path: Path) -> None:
    """Of its Status, or of the code alone; a server that cannot be reached or trusted is named."""
    found = context(url, tmp_path)
    with pytest.raises(Forbidden, match=r"^no$"):
        rawrequest.get(found, "/forbidden", bytes)
    with pytest.raises(NotFound, match="the server could not find the requested resource"):
        rawrequest.get(found, "/none", bytes)
    for path in ("user", "/a b", "/\n"):
        with pytest.raises(BadRequest, match="is not a path"):
            rawrequest.get(found, path, bytes)
    with pytest.raises(BadRequest, match='context "test" has no rest-server'):
        rawrequest.get(context("", tmp_path), "/user", bytes)
    with pytest.raises(Unavailable, match=r"cannot reach the REST API at https://127\.0\.0\.1:1: Connection refused"):
        rawrequest.get(context("https://127.0.0.1:1", tmp_path), "/user", bytes)
    (tmp_path / "ca.pem").write_bytes(pki.new_ca(time.time()).certificate)
    with pytest.raises(Unavailable, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        rawrequest.get(context(url, tmp_path), "/user", bytes)
