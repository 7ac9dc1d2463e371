"""Credentials of this machine's user for registries: files, and helpers that are programs."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import dockerconfig
from nodeagent.images.registry.credentials import matching, parse_config
from pinnace.errors import BadRequest

Environment = dict[str, str]


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    (tmp_path / ".docker").mkdir()
    (tmp_path / "bin").mkdir()
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


@pytest.fixture
def configured(environment: Environment) -> Callable[..., Environment]:
    """Writes docker's config.json."""

    def write(**config: Any) -> Environment:
        Path(environment["HOME"], ".docker", "config.json").write_text(json.dumps(config))
        return environment

    return write


@pytest.fixture
def helper(environment: Environment) -> Callable[[str, str], None]:
    """Installs a credential helper; its script finds the server in $server."""

    def install(name: str, script: str) -> None:
        path = Path(environment["HOME"], "bin", f"docker-credential-{name}")
        path.write_text(f'#!/bin/sh\nserver=$(cat)\necho "$# $1 $server" >> "$HOME/asked"\n{script}\n')
        path.chmod(0o755)

    return install


def users(data: bytes, host: str, repository: str) -> list[tuple[str, str]]:
    """As the node's agent reads what it gets."""
    found = matching(parse_config(data, "given") if data else [], host, repository)
    return [(item.username, item.password) for item in found]


def test_only_the_credentials_of_the_registry_are_sent(configured: Callable[..., Environment]) -> None:
    """By host, with a path for a part of it; docker's own registry under its three names; empty entries are left out."""
    env = configured(
        auths={
            "reg.example.com:5000": auth("all", "a:b"),
            "https://reg.example.com:5000/team": {"username": "team", "password": "c"},
            "other.example.com": auth("other", "d"),
            "https://index.docker.io/v1/": auth("hub", "e"),
            "empty.example.com": {},
        }
    )
    sent = dockerconfig.for_images(["reg.example.com:5000/team/app:1"], env)
    assert users(sent, "reg.example.com:5000", "team/app") == [("team", "c"), ("all", "a:b")]
    assert users(sent, "other.example.com", "x") == users(sent, "docker.io", "x") == []
    assert users(dockerconfig.for_images(["me/app"], env), "docker.io", "me/app") == [("hub", "e")]
    assert dockerconfig.for_images(["empty.example.com/x", "reg.example.com/x", "Not a name"], env) == b""


def test_which_file_is_read(configured: Callable[..., Environment], tmp_path: Path) -> None:
    """REGISTRY_AUTH_FILE alone where it is set; else podman's before docker's, of which DOCKER_CONFIG is the directory."""
    env = configured(auths={"r.example": auth("docker", "1")})
    for name in ("named", "run/containers/auth.json", "elsewhere/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"auths": {"r.example": auth(name, "1")}}))

    def user(**more: str) -> str:
        return users(dockerconfig.for_images(["r.example/x"], {**env, **more}), "r.example", "x")[0][0]

    elsewhere, runtime = {"DOCKER_CONFIG": f"{tmp_path}/elsewhere"}, {"XDG_RUNTIME_DIR": f"{tmp_path}/run"}
    assert user() == "docker"
    assert user(**elsewhere) == "elsewhere/config.json"
    assert user(**elsewhere, **runtime) == "run/containers/auth.json"
    assert user(**elsewhere, **runtime, REGISTRY_AUTH_FILE=f"{tmp_path}/named") == "named"
    assert user(XDG_RUNTIME_DIR=f"{tmp_path}/none") == "docker"
    assert dockerconfig.for_images(["r.example/x"], {"HOME": f"{tmp_path}/none"}) == b""
    with pytest.raises(BadRequest, match=r"REGISTRY_AUTH_FILE.*no such file"):
        user(REGISTRY_AUTH_FILE=f"{tmp_path}/absent")


def test_helpers_are_asked_on_their_standard_input(
    configured: Callable[..., Environment], helper: Callable[[str, str], None], tmp_path: Path
) -> None:
    """The host's own helper before the store of all; without a credential there, the file's own."""
    helper("one", 'echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"u1\\",\\"Secret\\":\\"s1\\"}"')
    helper("all", 'case $server in none*) echo credentials not found in native keychain; exit 1;; esac\n'
                  'echo "{\\"Username\\":\\"u2\\",\\"Secret\\":\\"s2\\"}"')  # fmt: skip
    env = configured(
        credsStore="all", credHelpers={"one.example": "one"}, auths={"none.example": auth("file", "f"), "one.example": {}}
    )
    sent = dockerconfig.for_images(["one.example/x", "none.example/x", "app"], env)
    assert users(sent, "one.example", "x") == [("u1", "s1")]
    assert users(sent, "none.example", "x") == [("file", "f")]
    assert users(sent, "docker.io", "library/app") == [("u2", "s2")]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["1 get one.example", "1 get none.example", "1 get https://index.docker.io/v1/"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo hush; exit 3", "docker-credential-x get failed with exit code 3 for r.example"),
        ("echo hush", "docker-credential-x get did not print a credential in JSON"),
        ('echo \'{"Username":"<token>","Secret":"hush"}\'', "docker-credential-x: identity tokens are not supported"),
        ("echo hush; exec sleep 60", "docker-credential-x has not answered within 1 s"),
    ],
)
def test_a_helper_that_fails_is_named_without_its_output(
    script: str, message: str, configured: Callable[..., Environment], helper: Callable[[str, str], None]
) -> None:
    """What it printed may be a secret."""
    helper("x", script)
    with pytest.raises(BadRequest) as caught:
        dockerconfig.for_images(["r.example/x"], configured(credsStore="x"), within=1.0)
    assert message in str(caught.value)
    assert "hush" not in f"{caught.value!r} {caught.value}"
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"credsStore": "absent"}, "docker-credential-absent: executable file not found in"),
        ({"credsStore": "../x"}, "the name of a credential helper is not valid"),
        ({"credHelpers": {"r.example": ["x"]}}, "the name of a credential helper is not valid"),
        ({"auths": {"r.example": {"identitytoken": "hush"}}}, "identity tokens are not supported"),
    ],
)
def test_a_configuration_that_cannot_be_used(config: Any, message: str, configured: Callable[..., Environment]) -> None:
    """Each error names the file or the program."""
    with pytest.raises(BadRequest, match=message):
        dockerconfig.for_images(["r.example/x"], configured(**config))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_file_that_is_no_configuration(text: str, environment: Environment) -> None:
    """It is an error, since the user would wonder why the registry refuses."""
    Path(environment["HOME"], ".docker", "config.json").write_text(text)
    with pytest.raises(BadRequest, match="is not a Docker configuration"):
        dockerconfig.for_images(["r.example/x"], environment)
