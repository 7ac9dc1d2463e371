"""Rules between the fields that give a pod its privileges."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace.admission import podparts
from pinnace.admission.security import SAFE_SYSCTLS, validate
from pinnace.core.v1 import pod_pb2


def faults(container: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    message = pod_pb2.Pod(spec={"containers": [{"name": "main", "securityContext": container or {}}], **spec})
    return [f"{cause.field}: {cause.message}" for cause in validate(podparts.read(message.spec))]


def sysctl(name: str) -> dict[str, Any]:
    return {"sysctls": [{"name": name, "value": "1"}]}


LOCAL = {"type": "Localhost"}


@pytest.mark.parametrize(
    ("container", "spec"),
    [
        ({}, {}),
        ({"privileged": True, "allowPrivilegeEscalation": True}, {"hostPID": True, "hostIPC": True, "hostNetwork": True}),
        ({"procMount": "Unmasked"}, {"hostUsers": False}),
        ({"procMount": "Default"}, {"shareProcessNamespace": True}),
        ({"seccompProfile": {**LOCAL, "localhostProfile": "team/a.json"}}, {"hostUsers": True}),
        ({"appArmorProfile": {**LOCAL, "localhostProfile": "k8s-apparmor-example-deny-write"}}, {}),
        ({"runAsUser": 65535}, {"hostUsers": False, "securityContext": {"fsGroup": 65535, "supplementalGroups": [0]}}),
        ({"runAsUser": 70000}, {"securityContext": {"supplementalGroups": [2147483647]}}),
        *(({}, {"securityContext": sysctl(name)}) for name in sorted(SAFE_SYSCTLS)),
        ({}, {"securityContext": sysctl("net/ipv4/tcp_syncookies")}),
        ({}, {"hostIPC": True, "securityContext": sysctl("net.ipv4.tcp_syncookies")}),
    ],
)
def test_what_goes_together_passes(container: dict[str, Any], spec: dict[str, Any]) -> None:
    """No fault where Kubernetes finds none."""
    assert faults(container, **spec) == []


@pytest.mark.parametrize(
    ("container", "spec", "said"),
    [
        ({"privileged": True, "allowPrivilegeEscalation": False}, {}, "and `privileged` to true"),
        (
            {"allowPrivilegeEscalation": False, "capabilities": {"add": ["CAP_SYS_ADMIN"]}},
            {},
            "`capabilities.Add` CAP_SYS_ADMIN",
        ),
        ({"procMount": "Unmasked"}, {}, "containers[0].securityContext.procMount: "),
        ({"seccompProfile": LOCAL}, {}, "seccompProfile.localhostProfile: Required"),
        (
            {"seccompProfile": {"type": "Unconfined", "localhostProfile": "x"}},
            {},
            "seccompProfile.localhostProfile: Invalid value",
        ),
        ({"seccompProfile": {**LOCAL, "localhostProfile": "/x"}}, {}, "must be a relative path"),
        ({"seccompProfile": {**LOCAL, "localhostProfile": "a/../../x"}}, {}, "must not contain '..'"),
        ({"seccompProfile": {**LOCAL, "localhostProfile": "a\x00b"}}, {}, "NUL byte"),
        ({"appArmorProfile": LOCAL}, {}, "appArmorProfile.localhostProfile: Required"),
        ({"appArmorProfile": {**LOCAL, "localhostProfile": " x"}}, {}, "padded with whitespace"),
        ({"appArmorProfile": {**LOCAL, "localhostProfile": "x" * 5000}}, {}, "may not be more than 4095 bytes"),
        ({}, {"hostUsers": False, "hostNetwork": True}, "spec.hostNetwork: Forbidden"),
        ({}, {"hostUsers": False, "hostPID": True}, "spec.hostPID: Forbidden"),
        ({}, {"hostUsers": False, "hostIPC": True}, "spec.hostIPC: Forbidden"),
        ({}, {"hostPID": True, "shareProcessNamespace": True}, "spec.shareProcessNamespace: "),
        ({"runAsGroup": 65536}, {"hostUsers": False}, "containers[0].securityContext.runAsGroup: "),
        ({}, {"hostUsers": False, "securityContext": {"supplementalGroups": [1, 65536]}}, "supplementalGroups[1]: "),
        ({}, {"securityContext": {"supplementalGroups": [-1]}}, "supplementalGroups[0]: "),
        ({}, {"securityContext": {"supplementalGroups": [2147483648]}}, "supplementalGroups[0]: "),
        ({}, {"securityContext": sysctl("kernel.core_pattern")}, "sysctls[0].name: Forbidden"),
        ({}, {"securityContext": sysctl("net.ipv4.ip_forward")}, "not among the safe ones"),
        ({}, {"securityContext": sysctl("net.ipv4.tcp_syncookies"), "hostNetwork": True}, "hostNetwork"),
        ({}, {"securityContext": sysctl("kernel.shm_rmid_forced"), "hostIPC": True}, "hostIPC"),
        (
            {},
            {
                "securityContext": {
                    "sysctls": [*sysctl("net.ipv4.tcp_rmem")["sysctls"], *sysctl("net/ipv4/tcp_rmem")["sysctls"]]
                }
            },
            "Duplicate",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(container: dict[str, Any], spec: dict[str, Any], said: str) -> None:
    """One fault, at the field."""
    found = faults(container, **spec)
    assert len(found) == 1, found
    assert said in found[0]


def test_all_containers_are_looked_at() -> None:
    """Init and ephemeral containers too."""
    bad = {"name": "x", "securityContext": {"procMount": "Unmasked"}}
    message = pod_pb2.Pod(
        spec={"initContainers": [bad], "containers": [bad], "ephemeralContainers": [{"ephemeralContainerCommon": bad}]}
    )
    assert [cause.field.partition("[")[0] for cause in validate(podparts.read(message.spec))] == [
        "spec.initContainers", "spec.containers", "spec.ephemeralContainers",
    ]  # fmt: skip
