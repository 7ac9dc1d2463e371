"""Pull secrets, challenges and endpoints: the pure parts of the registry client."""

from __future__ import annotations

import base64
import json

import pytest

from nodeagent.images.registry import challenge, config
from nodeagent.images.registry.config import Registries
from nodeagent.images.registry.credentials import BadSecret, Credential, matching, parse_pull_secret
from pinnace.core.v1 import config_pb2
from pinnace.oci.reference import BadReference, parse


def secret(kind: str, key: str, data: bytes) -> config_pb2.Secret:
    found = config_pb2.Secret(type=kind)
    found.metadata.name = "pull"
    found.data[key] = data
    return found


def config_secret(**auths: object) -> config_pb2.Secret:
    return secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", json.dumps({"auths": auths}).encode())


def test_both_kinds_of_pull_secret_are_read() -> None:
    """auth wins over user name and password, as in a Docker client's file; URLs are reduced to host and path."""
    auth = base64.b64encode(b"me:pass:word").decode()
    entries = {
        "https://index.docker.io/v1/": {"username": "u", "password": "p"},
        "reg.example:5000/team": {"auth": auth, "username": "x", "password": "y"},
    }
    wanted = [Credential("docker.io", "", "u", "p"), Credential("reg.example:5000", "team", "me", "pass:word")]
    assert parse_pull_secret(config_secret(**entries)) == wanted
    assert parse_pull_secret(secret("kubernetes.io/dockercfg", ".dockercfg", json.dumps(entries).encode())) == wanted


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (secret("Opaque", "x", b""), "is of type Opaque"),
        (secret("kubernetes.io/dockerconfigjson", "x", b"{}"), "does not hold a JSON object"),
        (secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", b"[" * 10_000), "does not hold a JSON object"),
        (secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", b'{"auths": [1]}'), "does not hold registries"),
        (config_secret(reg={"auth": "hunter2!"}), "auth of reg is not base64"),
        (config_secret(reg={"password": "hunter2"}), "has no user for reg"),
    ],
)
def test_a_broken_secret_is_named_and_not_shown(found: config_pb2.Secret, said: str) -> None:
    """The error says which secret and what is wrong with it, and nothing of what it holds."""
    with pytest.raises(BadSecret, match=said) as caught:
        parse_pull_secret(found)
    assert 'secret "pull"' in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_password_is_not_printed() -> None:
    """repr is what ends in logs."""
    assert "hunter2" not in repr(Credential("h", "", "u", "hunter2"))


@pytest.mark.parametrize(
    ("key", "host", "repository", "fits"),
    [
        ("reg.example", "reg.example", "a/b", True), ("reg.example", "reg.example:5000", "a", False),
        ("reg.example:5000", "reg.example:5000", "a", True), ("*.example", "reg.example", "a", True),
        ("*.example", "a.reg.example", "a", False), ("reg*.example", "reg2.example", "a", True), ("*", "reg.example", "a", False),
        ("reg.example/team", "reg.example", "team/app", True), ("reg.example/team", "reg.example", "teams/app", False),
        ("reg.example/team/app", "reg.example", "team/app", True), ("https://reg.example/v2/", "reg.example", "a", True),
        ("docker.io", "registry-1.docker.io", "library/a", True), ("index.docker.io/v1", "docker.io", "library/a", True),
        ("evil.example", "reg.example", "a", False),
    ],
)  # fmt: skip
def test_a_credential_goes_only_where_it_belongs(key: str, host: str, repository: str, fits: bool) -> None:
    """Host by label, port exactly, path by component."""
    found = parse_pull_secret(config_secret(**{key: {"username": "u", "password": "p"}}))
    assert bool(matching(found, host, repository)) is fits


def test_the_longest_path_is_tried_first() -> None:
    """As kubelet's keyring: the most specific credential."""
    given = [Credential("r", "", "a", "1"), Credential("r", "x/y", "b", "2"), Credential("r", "x", "c", "3")]
    assert [item.username for item in matching(given, "r", "x/y/z")] == ["b", "c", "a"]


def test_challenges_are_read() -> None:
    """Several in one header, quoted commas, and nonsense."""
    header = 'Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull,push", Basic realm="r\\"q"'
    bearer, basic = challenge.parse(header)
    assert (bearer.scheme, bearer.parameters["service"]) == ("bearer", "a, b")
    assert bearer.parameters["scope"] == "repository:x:pull,push"
    assert (basic.scheme, basic.parameters) == ("basic", {"realm": 'r"q'})
    assert challenge.parse("") == challenge.parse("=,=,") == challenge.parse('"' * 100_000) == []


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("localhost:5000", True), ("127.0.0.1", True), ("127.8.8.8:1", True), ("[::1]:5000", True), ("10.1.2.3:5000", True),
        ("11.1.2.3", False), ("listed.example", True), ("listed.example:5000", True), ("port.example:5000", True),
        ("port.example", False), ("127.0.0.1.evil.example", False), ("localhost.evil.example", False),
    ],
)  # fmt: skip
def test_only_listed_and_local_registries_may_be_insecure(host: str, insecure: bool) -> None:
    """By host, host and port, or range; what looks like loopback is not."""
    found = Registries(insecure=("10.0.0.0/8", "listed.example", "port.example:5000"))
    [endpoint] = found.endpoints(parse(f"{host}/app:1"))
    assert endpoint.insecure is insecure


def test_mirrors_come_first_and_in_order() -> None:
    """Then the registry; Docker Hub's API has a host of its own."""
    found = Registries(mirrors={"docker.io": ["http://a:1", "https://b.example/hub/"]}).endpoints(parse("busybox"))
    assert [item.base for item in found] == ["http://a:1", "https://b.example/hub", "https://registry-1.docker.io"]
    assert [item.namespace for item in found] == ["docker.io", "docker.io", ""]


@pytest.mark.parametrize(
    "text", ["docker.io", "docker.io=", "=http://x", "a/b=http://x", "h=ftp://x", "h=http://u:p@x", "h=http://x?q"]
)
def test_a_mirror_that_is_none_is_refused(text: str) -> None:
    """HOST=URL."""
    with pytest.raises(ValueError, match=r"mirror|HOST=URL"):
        config.mirror(text)


@pytest.mark.parametrize("text", ["", "http://x", "a/b", "10.0.0.0/99"])
def test_an_insecure_entry_that_is_none_is_refused(text: str) -> None:
    """A host, host:port or range."""
    with pytest.raises(ValueError, match=r"."):
        config.insecure(text)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"), ("index.docker.io/a/b:1", "docker.io/a/b:1"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"), ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64),
        ("a:1@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64),
    ],
)  # fmt: skip
def test_names_are_parsed(text: str, full: str) -> None:
    """In full, and the digest wins over a tag."""
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    "text",
    ["", "A", "a b", "a:", "a:" + "x" * 129, "a@sha256:00", "../a", "reg.example/../a", "reg.example//a", "a/" * 200 + "a",
     "-x", "a:b\n", "a@md5:" + "0" * 32, "http://reg.example/a", "reg.example:99999999/a", "user@host/a"],
)  # fmt: skip
def test_what_names_no_image_is_refused(text: str) -> None:
    """No path trick or odd character gets into a URL or a file name."""
    with pytest.raises(BadReference):
        parse(text)
