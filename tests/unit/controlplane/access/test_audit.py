"""The audit log: which requests are written, with how much of them, and where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.access import auditlog, auditpolicy
from controlplane.access.auditlog import Log
from controlplane.access.auditpolicy import Level, Policy, Record, Rule
from pinnace.errors import Invalid

GET = Record(
    "id", "/api/v1/namespaces/a/pods/b?x=1", "get", "alice", ("devs",), "192.0.2.1", "kubectl", 1.5, 2.25, 200, "", "v1",
    "pods", "", "a", "b", b'{"kind":"Pod"}', b'{"kind":"Pod","status":{}}',
)  # fmt: skip
POLICY = b"""
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: None, users: [robot]}
- {level: None, nonResourceURLs: ["/healthz*", /version]}
- {level: RequestResponse, resources: [{group: "", resources: [pods, "*/status"]}], namespaces: [a]}
- {level: Request, verbs: [delete], userGroups: [devs]}
- {level: Metadata}
"""


def level(record: Record) -> Level:
    return auditpolicy.read_policy(POLICY, "policy.yaml").level(record)


def test_the_first_rule_that_matches_decides() -> None:
    """By user, group, verb, namespace, resource and path."""
    assert level(GET) is Level.REQUEST_RESPONSE
    assert level(replace(GET, user="robot")) is Level.NONE
    assert level(replace(GET, namespace="c")) is Level.METADATA
    assert level(replace(GET, namespace="c", verb="delete")) is Level.REQUEST
    assert level(replace(GET, namespace="c", verb="delete", groups=())) is Level.METADATA
    assert level(replace(GET, subresource="log")) is Level.METADATA
    assert level(replace(GET, resource="nodes", subresource="status")) is Level.REQUEST_RESPONSE
    path = replace(GET, resource="", namespace="", uri="/healthz/etcd?verbose")
    assert [level(replace(path, uri=uri)) for uri in ("/healthz/etcd?x", "/version", "/versions")] == [
        Level.NONE, Level.NONE, Level.METADATA,
    ]  # fmt: skip


@pytest.mark.parametrize(("group", "resource", "subresource"), [
    ("", "secrets", ""), ("", "serviceaccounts", "token"), ("authentication.k8s.io", "tokenreviews", ""),
])  # fmt: skip
def test_credentials_are_never_written(group: str, resource: str, subresource: str) -> None:
    """Whatever the policy says."""
    policy = Policy((Rule(Level.REQUEST_RESPONSE),))
    record = replace(GET, group=group, resource=resource, subresource=subresource, request=b'{"data":{"k":"hidden"}}')
    found = policy.level(record)
    assert found is Level.METADATA
    assert "hidden" not in json.dumps(auditlog.event(record, found))


def test_an_event_has_the_form_of_kubernetes() -> None:
    """Objects only at the levels that have them, and only JSON of a bounded size."""
    made = auditlog.event(GET, Level.REQUEST_RESPONSE)
    assert (made["kind"], made["apiVersion"], made["level"], made["verb"]) == (
        "Event",
        "audit.k8s.io/v1",
        "RequestResponse",
        "get",
    )
    assert made["objectRef"] == {"resource": "pods", "namespace": "a", "name": "b", "apiVersion": "v1"}
    assert (made["requestObject"], made["responseObject"]["kind"]) == ({"kind": "Pod"}, "Pod")
    assert made["requestReceivedTimestamp"] == "1970-01-01T00:00:01.500000Z"
    assert "requestObject" not in auditlog.event(GET, Level.METADATA)
    assert "responseObject" not in auditlog.event(GET, Level.REQUEST)
    for body in (b"k8s\0abc", b"{", b"[" * 100_000, b"{" + b" " * (1 << 20) + b"}"):
        assert "requestObject" not in auditlog.event(replace(GET, request=body), Level.REQUEST)


@pytest.mark.parametrize(("text", "message"), [
    (b"{}", "not one Policy"), (b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []", "rules: Required value"),
    (POLICY.replace(b"level: Metadata", b"level: All"), r"rules\[4\]: level: 'All' is not one of"),
    (POLICY.replace(b"verbs: [delete]", b"verbs: delete"), r"rules\[3\]: verbs: expected a list"),
    (POLICY.replace(b"users:", b"user:"), r"rules\[0\]: unknown field 'user'"),
])  # fmt: skip
def test_a_policy_that_is_wrong_names_the_rule(text: bytes, message: str) -> None:
    """Before anything is served."""
    with pytest.raises(Invalid, match=message):
        auditpolicy.read_policy(text, "policy.yaml")


def test_lines_are_written_and_files_rotated(tmp_path: Path) -> None:
    """For their owner alone; the newest in the file itself."""
    path = tmp_path / "audit.log"
    log = Log(path, max_size=2000, backups=2)
    log.open()
    for number in range(20):
        log.put(replace(GET, id=str(number)))
    log.close()
    files = [path, tmp_path / "audit.log.1", tmp_path / "audit.log.2"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    ids = [json.loads(line)["auditID"] for file in reversed(files) for line in file.read_text().splitlines()]
    assert ids == [str(number) for number in range(20 - len(ids), 20)]
    assert all(file.stat().st_size <= 2000 and file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_a_log_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    """A link in its place, too."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "none/audit.log", tmp_path / "link"):
        with pytest.raises(Invalid, match="audit log: "):
            auditlog.open_log(str(path), "", megabytes=1, backups=1)


def test_a_grpc_call_is_a_path() -> None:
    """With the code of HTTP that belongs to its status."""
    from controlplane.access.identity import Identity

    method, alice = "/pinnace.api.v1.Objects/Create", Identity("alice", ("devs",))
    made = auditpolicy.of_call(method, alice, "NOT_FOUND", id_="id", received=1.0, answered=2.0)
    assert (made.verb, made.uri, made.code, made.resource) == ("create", "/pinnace.api.v1.Objects/Create", 404, "")
