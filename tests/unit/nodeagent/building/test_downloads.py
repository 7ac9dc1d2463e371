"""ADD of a URL: names, checksums, refused addresses, and what a server may send."""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nodeagent.building import downloads
from nodeagent.building.downloads import Downloads
from nodeagent.building.errors import BuildError
from nodeagent.images.registry.proxies import Proxies
from pinnace.clock import SystemClock

CONTENT = b"content of the file" * 1000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """As a proxy, so that requests are for another host than the loopback that it listens on."""

    def do_GET(self) -> None:
        path = self.path.partition("example.org")[2]
        if path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://example.org/file")
            self.end_headers()
            return
        self.send_response(200 if path == "/file" else 404)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def proxy() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def fetched(url: str, path: Path, checksum: str = "") -> downloads.Download:
    with proxy() as address:
        found = Downloads(SystemClock(), Proxies(http=address))
        return await found.fetch(url, checksum, path)


async def test_a_file_is_downloaded_through_a_proxy_and_redirects(tmp_path: Path) -> None:
    """With the time that the server gives, 0600."""
    for number, url in enumerate(("http://example.org/file", "http://example.org/moved")):
        found = await fetched(url, tmp_path / str(number), DIGEST)
        assert found.path.read_bytes() == CONTENT
        assert found.digest == DIGEST
        status = found.path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o600, 1_420_070_400.0)
    assert (
        await fetched("http://example.org/file", tmp_path / "512", "sha512:" + hashlib.sha512(CONTENT).hexdigest())
    ).digest == DIGEST


async def test_another_checksum_and_another_status_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a file that is too large."""
    with pytest.raises(BuildError, match="digest mismatch"):
        await fetched("http://example.org/file", tmp_path / "a", "sha256:" + "0" * 64)
    with pytest.raises(BuildError, match=r"http://example\.org/nope: invalid response status 404"):
        await fetched("http://example.org/nope", tmp_path / "b")
    monkeypatch.setattr(downloads, "MAX_BYTES", 1000)
    with pytest.raises(BuildError, match="larger than"):
        await fetched("http://example.org/file", tmp_path / "c")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/x", "http://169.254.169.254/latest", "http://0.0.0.0/x", "http://[::ffff:127.0.0.1]/x",
            "http://2130706433/x", "https://127.1/x"],
)  # fmt: skip
async def test_the_nodes_own_addresses_are_refused(tmp_path: Path, url: str) -> None:
    """However they are written: what listens on the loopback is not for builds."""
    with pytest.raises(BuildError, match="the node's own"):
        await Downloads(SystemClock(), Proxies()).fetch(url, "", tmp_path / "x")


async def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(BuildError, match=r"http://nowhere\.invalid/x: the host cannot be resolved"):
        await Downloads(SystemClock(), Proxies()).fetch("http://nowhere.invalid/x", "", tmp_path / "x")
    with proxy() as address:
        pass
    with pytest.raises(BuildError, match="cannot be reached"):
        await Downloads(SystemClock(), Proxies(http=address)).fetch("http://example.org/x", "", tmp_path / "y")


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://h/a/b.tar?x=1", "b.tar"), ("http://h/a%20b", "a b"), ("http://h/a%2Fb", "b"), ("http://h/", "__unnamed__"), ("http://h", "__unnamed__"),
     ("http://h/..", "__unnamed__"), ("http://h/a%00", "__unnamed__"), ("http://h/" + "a" * 300, "__unnamed__"), ("http://[/x", "__unnamed__")],
)  # fmt: skip
def test_names_of_files(url: str, name: str) -> None:
    """The last part of the path, if a file can be called so."""
    assert downloads.name_of(url) == name
