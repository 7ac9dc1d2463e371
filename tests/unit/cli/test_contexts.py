"""kctl's configuration: what is read, what is refused and how, and what is shown of it."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cli import contexts, main, redaction
from controlplane.access import certificates
from pinnace import pki
from pinnace.errors import BadRequest
from tests.support.kctlruns import COMMANDS

NOW = 1_700_000_000.0
CA = pki.new_ca(NOW)
ADMIN = pki.issue(CA, "kubernetes-admin", ("system:masters",), now=NOW)


def usable() -> dict[str, Any]:
    """A configuration of one context, `default`."""
    return dict(yaml.safe_load(certificates.context_file(CA, ADMIN, "192.0.2.1:6443")))


def current(folder: Path, ca: str) -> contexts.Context:
    config = usable()
    config["clusters"][0]["cluster"]["certificate-authority-data"] = ca
    (folder / "config").write_text(yaml.safe_dump(config))
    return contexts.current(SimpleNamespace(config=str(folder / "config"), context="", namespace=""))


def test_the_ca_is_exactly_one_certificate(tmp_path: Path) -> None:
    """A second one behind it would be trusted without a word."""
    assert current(tmp_path, base64.b64encode(CA.certificate).decode()).ca == CA.certificate
    with pytest.raises(BadRequest, match="certificate-authority: expected exactly one certificate"):
        current(tmp_path, base64.b64encode(CA.certificate + pki.new_ca(NOW).certificate).decode())
    with pytest.raises(BadRequest, match="is not base64"):
        current(tmp_path, "!" + base64.b64encode(CA.certificate).decode())


def _with(kind: str, **fields: Any) -> bytes:
    """The usable configuration with other fields in its cluster, user or context; None removes one."""
    config = usable()
    body = config[f"{kind}s"][0][kind]
    config[f"{kind}s"][0][kind] = {key: value for key, value in {**body, **fields}.items() if value is not None}
    return json.dumps(config).encode()


def _top(**fields: Any) -> bytes:
    return json.dumps({**usable(), **fields}).encode()


TOKEN = {"client-certificate-data": None, "client-key-data": None}
# Content and what is said of it, after the file's name.
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no cluster is configured in"),
    "blank": (b"\n  \n# nothing\n", "no cluster is configured in"),
    "null": (b"null", "no cluster is configured in"),
    "no contexts": (b"kind: Config", "no cluster is configured in"),
    "binary": (bytes(range(256)) * 20, "is not a text file: byte 128 is not UTF-8"),
    "an executable": (b"\x7fELF\x02\x01\x01\0\0\0", "is not a kctl configuration"),
    "latin-1": ("kind: Zürich".encode("latin-1"), "is not a text file"),
    "huge": (b"a: " + b"x" * (5 << 20), "is larger than 4 MiB"),
    "nested": (b"[" * 100_000, "is not a kctl configuration"),
    "aliases": (
        b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(b"%c: &%c [%s]\n" % (n, n, b", ".join([b"*%c" % (n - 1)] * 10)) for n in range(98, 108)),
        "is not a kctl configuration",
    ),
    "broken YAML": (b"contexts: [", "is not a kctl configuration"),
    "duplicate keys": (b"kind: Config\nkind: Config\n", "duplicate key"),
    "a list": (b"- a", "expected an object, got a list"),
    "a text": (b"hello", "expected an object, got a string"),
    "a number": (b"5", "expected an object, got a number"),
    "two documents": (b"a: 1\n---\nb: 2\n", "it has 2 documents"),
    "contexts are a text": (_top(contexts="secret-value"), "contexts: expected a list, got a string"),
    "contexts are an object": (_top(contexts={"a": {}}), "contexts: expected a list, got an object"),
    "contexts are texts": (_top(contexts=["default"]), "contexts[0]: expected an object, got a string"),
    "a context without a name": (_top(contexts=[{"context": {}}]), "contexts[0].name: expected a name, got nothing"),
    "a context whose name is a number": (_top(contexts=[{"name": 5}]), "contexts[0].name: expected a name, got a number"),
    "a context without a body": (_top(contexts=[{"name": "default"}]), 'context "default" has no cluster'),
    "a context whose body is null": (_top(contexts=[{"name": "default", "context": None}]), 'context "default" has no cluster'),
    "a context whose body is a list": (_top(contexts=[{"name": "default", "context": [1]}]), "contexts[0].context: expected an object, got a list"),
    "a current context that is a number": (_top(**{"current-context": 5}), "current-context: expected a string, got a number"),
    "a current context that is not there": (_top(**{"current-context": "nope"}), 'context "nope" does not exist'),
    "no clusters": (_top(clusters=None), 'cluster "default" does not exist in the configuration (it has: none)'),
    "users are a number": (_top(users=7), "users: expected a list, got a number"),
    "a namespace that is a list": (_with("context", namespace=["a"]), "namespace: expected a string, got a list"),
    "no server": (_with("cluster", server=None), 'cluster "default" has no server'),
    "a server that is a number": (_with("cluster", server=6443), "server: expected a string, got a number"),
    "a server of a REST API": (_with("cluster", server="https://127.0.0.1:6443"), "is a REST API: kctl speaks gRPC"),
    "a server without a port": (_with("cluster", server="localhost"), "is neither HOST:PORT nor unix:///PATH"),
    "a port out of range": (_with("cluster", server="localhost:99999"), "is neither HOST:PORT nor unix:///PATH"),
    "a token only": (_with("user", token="sesame", **TOKEN), 'user "admin" has no client-certificate-data but token: kctl authenticates with'),
    "a plugin": (_with("user", exec={"command": "x"}, **TOKEN), "no client-certificate-data but exec"),
    "no credentials": (_with("user", **TOKEN), "has no client-certificate-data"),
    "a certificate that is not base64": (_with("user", **{"client-certificate-data": "%%%"}), "client-certificate-data is not base64"),
    "a certificate that is none": (_with("user", **{"client-certificate-data": "aGVsbG8="}), "client-certificate: expected exactly one certificate"),
    "a certificate that is a list": (_with("user", **{"client-certificate-data": ["x"]}), "client-certificate-data: expected a string, got a list"),
    "a certificate file that is not there": (_with("user", **{"client-certificate-data": None, "client-certificate": "none.crt"}), "none.crt\" does not exist"),
    "a key that is none": (_with("user", **{"client-key-data": "aGVsbG8="}), "client-key is not a private key in PEM"),
    "no CA": (_with("cluster", **{"certificate-authority-data": None, "insecure-skip-tls-verify": True}), "has no certificate-authority-data"),
}  # fmt: skip


@pytest.fixture
def kctl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """`kctl(...)` runs the command line in this process: exit code, stdout, stderr."""
    hook = threading.excepthook

    def run(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["kctl", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    yield run
    threading.excepthook = hook


def _commands(folder: Path) -> list[list[str]]:
    """All that need a cluster, and those of labs."""
    (folder / "cm.json").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}')
    (folder / "tree").mkdir(exist_ok=True)
    (folder / "tree/Dockerfile").write_text("FROM scratch\n")
    places = {"{file}": folder / "cm.json", "{out}": folder / "out", "{tree}": folder / "tree"}
    chosen = [words for words in COMMANDS if words[0] != "config" and "-" not in words[-2:] and "-it" not in words]
    return [[str(places.get(word, word)) for word in words] for words in chosen]


@pytest.mark.parametrize("name", BROKEN)
def test_a_configuration_that_cannot_be_used_is_one_line_of_every_command(name: str, kctl: Any, tmp_path: Path) -> None:
    """It names the file and the place, never what stands there, and nothing else is tried."""
    content, said = BROKEN[name]
    file = tmp_path / "config"
    file.write_bytes(content)
    for words in _commands(tmp_path):
        code, out, err = kctl("--config", str(file), *words)
        # Of `diff` 1 would be a difference.
        assert code == (2 if words[0] == "diff" else 1), words
        # `version` has already printed its own.
        assert out == "" or words == ["version"], words
        assert err.startswith("error: "), words
        assert said in err, words
        assert err.count("\n") == 1, words
        assert "failed unexpectedly" not in err, words
        assert "secret-value" not in err + out
        assert "sesame" not in err + out


UNREADABLE = ["directory", "loop", "/proc/self/mem", "a" * 5_000, "/dev/zero"]


@pytest.mark.parametrize("name", UNREADABLE, ids=lambda name: name[:20])
def test_a_configuration_that_cannot_be_read(name: str, kctl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory, a link to itself, an I/O error, a name that is too long, an endless file; as $PINNACE_CONFIG too."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    path = str(tmp_path / name)
    for words in (["get", "pods"], ["config", "view"], ["config", "use-context", "x"], ["lab", "down", "--name", "none"]):
        code, out, err = kctl("--config", path, *words)
        assert (code, out, err.count("\n")) == (1, "", 1), (words, err)
        assert err.startswith("error: ")
        assert "failed unexpectedly" not in err
    monkeypatch.setenv("PINNACE_CONFIG", path)
    assert kctl("get", "pods")[0] == 1


def test_no_home_directory(kctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to set."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PINNACE_CONFIG", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert (
        kctl("get", "pods")[2] == "error: there is no home directory: set HOME, or PINNACE_CONFIG to the configuration file\n"
    )


def test_a_lab_is_not_begun_with_a_configuration_that_cannot_be_read(kctl: Any, tmp_path: Path) -> None:
    """It could not be added to it at the end."""
    (tmp_path / "config").write_text("contexts: 5")
    code, _, err = kctl("--config", str(tmp_path / "config"), "lab", "up", "--name", "t-never-begun")
    assert (code, "contexts: expected a list" in err) == (1, True)
    assert not Path("/var/lib/pinnace/labs/t-never-begun").exists()


def test_certificates_may_stand_in_files_beside_the_configuration(tmp_path: Path) -> None:
    """As in a kubeconfig, relative to its directory."""
    config = usable()
    for kind, field, content in (
        ("cluster", "certificate-authority", CA.certificate), ("user", "client-certificate", ADMIN.certificate), ("user", "client-key", ADMIN.key),
    ):  # fmt: skip
        (tmp_path / field).write_bytes(content)
        body = config[f"{kind}s"][0][kind]
        del body[f"{field}-data"]
        body[field] = field
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    found = contexts.current(SimpleNamespace(config=str(tmp_path / "config"), context="", namespace=""))
    assert (found.ca, found.certificate, found.key) == (CA.certificate, ADMIN.certificate, ADMIN.key)


SECRETS: dict[str, Any] = {
    "token": "s1", "password": "s2", "client-certificate-data": "s3", "client-key-data": "s4", "username": "me", "tokenFile": "/t",
    "exec": {"command": "plugin", "args": ["--token=s5"], "env": [{"name": "AWS_KEY", "value": "s6"}], "clientSecret": "s7"},
    "auth-provider": {"name": "oidc", "config": {"id-token": "s8", "client-secret": "s9", "client-id": "public"}},
}  # fmt: skip


def test_the_configuration_is_shown_without_its_secrets(kctl: Any, tmp_path: Path) -> None:
    """kubectl's placeholders, in every format; --raw shows all."""
    config = usable()
    config["users"][0]["user"] = SECRETS
    config["clusters"][0]["cluster"]["proxy-url"] = "http://me:s0@proxy:3128"
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config))
    _, out, _ = kctl("--config", str(file), "config", "view")
    user = yaml.safe_load(out)["users"][0]["user"]
    assert (user["token"], user["password"]) == ("REDACTED", "REDACTED")
    assert (user["client-certificate-data"], user["client-key-data"]) == ("DATA+OMITTED", "DATA+OMITTED")
    assert (user["username"], user["tokenFile"], user["exec"]["command"]) == ("me", "/t", "plugin")
    assert user["auth-provider"]["config"]["client-id"] == "public"
    assert yaml.safe_load(out)["clusters"][0]["cluster"]["certificate-authority-data"] == "DATA+OMITTED"
    for words in (
        ["view"],
        ["view", "-o", "json"],
        ["view", "--minify"],
        ["view", "-o", "jsonpath={.users[*].user}"],
        ["get-contexts"],
    ):
        _, out, _ = kctl("--config", str(file), "config", *words)
        assert not [secret for secret in (f"s{n}" for n in range(10)) if secret in out], words
    _, out, _ = kctl("--config", str(file), "config", "view", "--raw")
    assert yaml.safe_load(out) == config


def test_redaction_leaves_what_is_no_secret() -> None:
    """Empty values, names of files, and every other type."""
    value = {"token": "", "tokenFile": "f", "secrets": ["x"], "a": [{"apiKey": "k", "n": 1, "ok": True, "z": None}]}
    assert redaction.redacted(value) == {
        "token": "", "tokenFile": "f", "secrets": "REDACTED", "a": [{"apiKey": "REDACTED", "n": 1, "ok": True, "z": None}],
    }  # fmt: skip


def test_contexts_are_listed_changed_and_written_back_as_they_were(kctl: Any, tmp_path: Path) -> None:
    """A context without a body is shown, foreign fields stay, and texts that look like numbers stay texts."""
    file = tmp_path / "config"
    config = {**usable(), "extensions": [{"name": "5e10", "extension": {"v": "08"}}]}
    config["contexts"].append({"name": "empty"})
    file.write_text(json.dumps(config))
    assert kctl("--config", str(file), "config", "get-contexts", "-o", "name")[1] == "default\nempty\n"
    assert kctl("--config", str(file), "config", "get-contexts")[1].splitlines()[2].split() == ["empty"]
    assert kctl("--config", str(file), "config", "use-context", "empty")[1] == 'Switched to context "empty".\n'
    assert kctl("--config", str(file), "config", "set-context", "--current", "-n", "team")[0] == 0
    found = contexts.load(file)
    assert found["contexts"][1] == {"name": "empty", "context": {"namespace": "team"}}
    assert found["extensions"] == config["extensions"]
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert kctl("--config", str(file), "config", "set-context")[2] == "error: missing flag: --namespace NAME\n"
