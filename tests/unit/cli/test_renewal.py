"""kctl's own certificate: when it is replaced, from where, and what happens where it cannot be."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cli import contexts, renewal
from controlplane.access import certificates
from pinnace import certificate, csr, pki
from pinnace.errors import Unauthenticated, Unavailable

DAY = pki.DAY
NOW = time.time()
CA = pki.new_ca(NOW - 2000 * DAY)
ADMIN = ("kubernetes-admin", ("system:masters",))


def pair(age: float, *, user: tuple[str, tuple[str, ...]] = ADMIN) -> pki.Pair:
    """A certificate of 90 days that is so many days old."""
    return pki.issue(CA, *user, now=NOW - age * DAY, lifetime=90 * DAY)


def write(file: Path, made: pki.Pair) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(certificates.context_file(CA, made, "192.0.2.1:6443"))
    return file


def read(file: Path) -> contexts.Context:
    return contexts.current(SimpleNamespace(config=str(file), context="", namespace=""))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[contexts.Context]:
    """A control plane that issues what it is asked for; the contexts that asked."""
    seen: list[contexts.Context] = []

    def issue(context: contexts.Context) -> contexts.Context:
        seen.append(context)
        time.sleep(0.05)
        made = pair(0)
        return contexts.Context(
            name=context.name, server=context.server, namespace=context.namespace, ca=context.ca,
            certificate=made.certificate, key=made.key,
        )  # fmt: skip

    monkeypatch.setattr(renewal, "_asked_for", issue)
    monkeypatch.setattr(contexts, "ADMIN", tmp_path / "none")
    monkeypatch.setattr(renewal, "LABS", tmp_path / "labs")
    return seen


def test_a_young_certificate_is_used_as_it_is(asked: list[Any], tmp_path: Path) -> None:
    """Up to two thirds of its lifetime."""
    file = write(tmp_path / "config", pair(59))
    before = file.read_bytes()
    assert renewal.fresh(read(file), file) == read(file)
    assert (asked, file.read_bytes()) == ([], before)


def test_an_old_certificate_is_replaced_and_stored(asked: list[Any], tmp_path: Path) -> None:
    """For the owner only, and everything else in the file stays."""
    file = write(tmp_path / "config", pair(61))
    found = renewal.fresh(read(file), file)
    assert found == read(file)
    assert certificate.validity(found.certificate).end > NOW + 80 * DAY
    assert pki.matches(pki.Pair(found.certificate, found.key))
    assert file.stat().st_mode & 0o077 == 0
    assert len(asked) == 1
    assert yaml.safe_load(file.read_text())["current-context"] == "default"


def test_of_many_commands_one_renews(asked: list[Any], tmp_path: Path) -> None:
    """The others take what it stored."""
    file = write(tmp_path / "config", pair(61))
    context, found = read(file), []
    threads = [threading.Thread(target=lambda: found.append(renewal.fresh(context, file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert {item.certificate for item in found} == {read(file).certificate}


@pytest.mark.parametrize("age", [61, 91])
def test_the_control_plane_s_own_context_is_taken_over(age: float, asked: list[Any], tmp_path: Path) -> None:
    """In a lab, and on the control plane's machine: also when kctl's certificate has expired."""
    write(tmp_path / "labs/blue/control/admin.yaml", pair(1))
    file = write(tmp_path / "config", pair(age))
    config = contexts.load(file)
    contexts.merge(config, contexts.load(file), "lab-blue")
    contexts.save(file, config)
    found = renewal.fresh(read(file), file)
    assert found.certificate == read(tmp_path / "labs/blue/control/admin.yaml").certificate
    assert read(file) == found
    assert asked == []


def test_another_user_or_cluster_is_not_taken_over(asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root would become administrator of a cluster without having asked for it."""
    monkeypatch.setattr(contexts, "ADMIN", write(tmp_path / "local/admin.yaml", pair(1)))
    file = write(tmp_path / "config", pair(91, user=("someone", ("developers",))))
    with pytest.raises(Unauthenticated):
        renewal.fresh(read(file), file)


def test_an_expired_certificate_is_named_with_what_to_do(asked: list[Any], tmp_path: Path) -> None:
    """Instead of a failed handshake."""
    file = write(tmp_path / "config", pair(91))
    with pytest.raises(Unauthenticated, match=r"expired on .*: copy admin\.yaml"):
        renewal.fresh(read(file), file)
    assert asked == []


def test_a_renewal_that_fails_leaves_the_old_certificate(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without a word while there is time, with a warning towards the end."""

    def fail(context: contexts.Context) -> contexts.Context:
        raise Unavailable("not now")

    monkeypatch.setattr(renewal, "_asked_for", fail)
    for age, warned in ((61, False), (85, True)):
        file = write(tmp_path / "config", pair(age))
        assert renewal.fresh(read(file), file) == read(file)
        assert ("could not be renewed: not now" in capsys.readouterr().err) is warned


def test_a_configuration_that_names_files_is_left_alone(asked: list[Any], tmp_path: Path) -> None:
    """They belong to whoever wrote them."""
    made = pair(61)
    (tmp_path / "me.crt").write_bytes(made.certificate)
    (tmp_path / "me.key").write_bytes(made.key)
    file = write(tmp_path / "config", made)
    config = yaml.safe_load(file.read_text())
    config["users"][0]["user"] = {"client-certificate": str(tmp_path / "me.crt"), "client-key": str(tmp_path / "me.key")}
    file.write_text(yaml.safe_dump(config))
    assert renewal.fresh(read(file), file).certificate == made.certificate
    assert asked == []


def test_the_control_plane_s_own_file_is_not_written(asked: list[Any], tmp_path: Path) -> None:
    """It renews that by itself."""
    file = write(tmp_path / "control/admin.yaml", pair(61))
    (tmp_path / "control/pki").mkdir()
    (tmp_path / "control/pki/ca.key").touch()
    before = file.read_bytes()
    assert renewal.fresh(read(file), file) == read(file)
    assert (asked, file.read_bytes()) == ([], before)


def test_the_subject_of_a_request_is_the_certificate_s() -> None:
    """The control plane issues for no other."""
    assert pki.subject(pair(1).certificate) == ADMIN
    request = csr.new(*pki.subject(pair(1).certificate))
    assert csr.SigningRequest.parse(request.certificate, *ADMIN).user == "kubernetes-admin"


def test_a_command_that_lasts_gets_the_renewed_certificate(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once it is time, and until then no call looks for one."""
    file = write(tmp_path / "config", pair(1))
    renewed = renewal.Renewed(read(file), file)
    first = renewed.context()
    write(file, pair(0))
    assert renewed.context() == first
    monkeypatch.setattr(time, "time", lambda: NOW + 65 * DAY)
    assert renewed.context() == read(file) != first
    assert asked == []


@pytest.mark.parametrize("owner", ["another command", "files that it names", "the control plane"])
def test_a_command_that_lasts_takes_what_others_have_renewed(
    owner: str, asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(tmp_path / "config", pair(1))
    if owner == "the control plane":
        (tmp_path / "pki").mkdir()
        (tmp_path / "pki/ca.key").touch()
    elif owner == "files that it names":
        config = yaml.safe_load(file.read_text())
        config["users"][0]["user"] = {"client-certificate": "me.crt", "client-key": "me.key"}
        file.write_text(yaml.safe_dump(config))
        store_pair(tmp_path, pair(1))
    renewed = renewal.Renewed(read(file), file)
    first = renewed.context()
    if owner == "files that it names":
        store_pair(tmp_path, pair(0))
    else:
        write(file, pair(0))
    monkeypatch.setattr(time, "time", lambda: NOW + 65 * DAY)
    assert renewed.context() == read(file) != first
    assert asked == []


def store_pair(folder: Path, made: pki.Pair) -> None:
    (folder / "me.crt").write_bytes(made.certificate)
    (folder / "me.key").write_bytes(made.key)


def test_a_command_that_lasts_does_not_ask_with_each_call(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a control plane that cannot be reached; after a while it does again, and in the end it fails."""
    tries = []

    def fail(context: contexts.Context) -> contexts.Context:
        tries.append(context)
        raise Unavailable("not now")

    monkeypatch.setattr(renewal, "_asked_for", fail)
    # This module may have been imported long before.
    monkeypatch.setattr(time, "time", lambda: NOW)
    file = write(tmp_path / "config", pair(61))
    renewed = renewal.Renewed(read(file), file)
    assert {renewed.context().certificate for _ in range(5)} == {read(file).certificate}
    assert len(tries) == 1
    monkeypatch.setattr(time, "time", lambda: NOW + renewal.MAX_RETRY + 600)
    renewed.context()
    assert len(tries) == 2
    monkeypatch.setattr(time, "time", lambda: NOW + 30 * DAY)
    with pytest.raises(Unauthenticated, match="expired"):
        renewed.context()
