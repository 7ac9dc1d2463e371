"""Who a container's processes are and what they may do, from manifest and image alone."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.linux.capabilities import DEFAULT, NAMES
from nodeagent.pods.spec.environment import ConfigError
from nodeagent.pods.spec.security import CreateError, Host, Identity, Seccomp, identity, needs_ids, pid_namespace, privileges
from pinnace.core.v1 import pod_pb2

HOST = Host(capabilities=tuple(NAMES))
ARMOURED = Host(capabilities=tuple(NAMES), apparmor=frozenset(("mine", "pinnace-default")))
PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/:/bin/sh\n1000:x:0:0:sly:/:/bin/sh\nodd:x:nan:0::/:/bin/sh\nshort:x\n"
GROUP = "root:x:0:\nweb:x:33:app,other\nlogs:x:44:app\nbad:x:nan:app\n"


def read(path: str) -> bytes:
    return {"etc/passwd": PASSWD, "etc/group": GROUP}.get(path, "").encode()


def pod(container: dict[str, Any] | None = None, **shared: Any) -> Any:
    message = pod_pb2.Pod(spec={"containers": [{"name": "main"}]})
    for target, values in (
        (message.spec.securityContext, shared),
        (message.spec.containers[0].securityContext, container or {}),
    ):
        target.SetInParent()
        target.MergeFrom(type(target)(**values))
    return message


def who(image_user: str, container: dict[str, Any] | None = None, **shared: Any) -> Identity:
    message = pod(container, **shared)
    return identity(message, message.spec.containers[0], image_user, read)


def may(container: dict[str, Any] | None = None, host: Host = HOST, **shared: Any) -> Any:
    message = pod(container, **shared)
    return privileges(message, message.spec.containers[0], host)


@pytest.mark.parametrize(
    ("image_user", "container", "shared", "expected"),
    [
        ("", {}, {}, Identity(0, 0, (0,))),
        ("app", {}, {}, Identity(1001, 1002, (1002, 33, 44))),
        ("app:web", {}, {}, Identity(1001, 33, (33, 44))),
        ("1001:7", {}, {}, Identity(1001, 7, (7, 33, 44))),
        ("4242", {}, {}, Identity(4242, 0, (0,))),
        ("app", {"runAsUser": 5}, {"runAsUser": 6}, Identity(5, 0, (0,))),
        ("app", {}, {"runAsUser": 1001}, Identity(1001, 1002, (1002, 33, 44))),
        ("app", {"runAsGroup": 9}, {"runAsGroup": 8}, Identity(1001, 9, (9, 33, 44))),
        ("", {"runAsUser": 5}, {"supplementalGroups": [3, 4], "fsGroup": 2000}, Identity(5, 0, (0, 3, 4, 2000))),
        ("app", {}, {"supplementalGroupsPolicy": "Strict", "supplementalGroups": [9]}, Identity(1001, 1002, (1002, 9))),
        ("app", {}, {"supplementalGroupsPolicy": "Merge", "supplementalGroups": [9]}, Identity(1001, 1002, (1002, 33, 44, 9))),
        # A user whose name is a number does not stand in for the number.
        ("", {"runAsUser": 1000}, {}, Identity(1000, 0, (0,))),
    ],
)
@pytest.mark.shows("spec.securityContext.{runAsUser,runAsGroup,supplementalGroups,supplementalGroupsPolicy}")
def test_users_and_groups(image_user: str, container: dict[str, Any], shared: dict[str, Any], expected: Identity) -> None:
    """A container's setting before its pod's before the image's; groups of the image unless the policy is Strict."""
    assert who(image_user, container, **shared) == expected


@pytest.mark.parametrize(
    ("image_user", "container", "said"),
    [
        ("", {}, "image will run as root"),
        ("0", {}, "image will run as root"),
        ("root", {}, "non-numeric user (root)"),
        ("app", {}, "non-numeric user (app)"),
        ("", {"runAsUser": 0}, "breaks non-root policy"),
    ],
)
@pytest.mark.shows("spec.securityContext.runAsNonRoot")
def test_run_as_non_root_is_held(image_user: str, container: dict[str, Any], said: str) -> None:
    """Root is refused, and so is a name, which proves nothing."""
    with pytest.raises(ConfigError) as caught:
        who(image_user, container, runAsNonRoot=True)
    assert said in str(caught.value)


def test_run_as_non_root_takes_numbers() -> None:
    """A numeric user of the manifest or of the image is enough; a container may lift its pod's rule."""
    assert who("1001", runAsNonRoot=True).user == 1001
    assert who("app", {"runAsUser": 7}, runAsNonRoot=True).user == 7
    assert who("", {"runAsNonRoot": False}, runAsNonRoot=True).user == 0


@pytest.mark.parametrize("user", ["ghost", "app:ghosts", "99999999999", "2147483648"])
def test_an_unknown_user_is_an_error(user: str) -> None:
    """Names that the image lacks, and numbers that are no id."""
    with pytest.raises(ConfigError):
        who(user)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set(DEFAULT)),
        ({"drop": ["ALL"]}, set()),
        ({"drop": ["ALL"], "add": ["NET_ADMIN"]}, {"NET_ADMIN"}),
        ({"drop": ["KILL", "CAP_CHOWN"]}, set(DEFAULT) - {"KILL", "CHOWN"}),
        ({"add": ["cap_sys_time"]}, {*DEFAULT, "SYS_TIME"}),
        ({"add": ["ALL"], "drop": ["SYS_ADMIN"]}, set(NAMES) - {"SYS_ADMIN"}),
        ({"add": ["SYS_ADMIN"], "drop": ["SYS_ADMIN"]}, set(DEFAULT)),
    ],
)
@pytest.mark.shows("spec.containers[].securityContext.capabilities.{add,drop}")
def test_capabilities_are_added_and_dropped(changes: dict[str, Any], expected: set[str]) -> None:
    """ALL first, then additions, then drops."""
    assert set(may({"capabilities": changes}).capabilities) == expected


def test_a_capability_that_nobody_has_is_refused() -> None:
    """An unknown name is the manifest's fault; one that the node lacks is the node's."""
    with pytest.raises(ConfigError, match="unknown capability FLY"):
        may({"capabilities": {"add": ["FLY"]}})
    with pytest.raises(CreateError, match="no capability SYS_RESOURCE"):
        may({"capabilities": {"add": ["SYS_RESOURCE"]}}, Host(tuple(n for n in NAMES if n != "SYS_RESOURCE")))


@pytest.mark.shows("spec.containers[].securityContext.privileged")
def test_privileged_has_what_the_node_has() -> None:
    """All capabilities of the node, no filter, no masks, whatever else is said."""
    found = may({"privileged": True, "seccompProfile": {"type": "RuntimeDefault"}}, ARMOURED)
    assert found.capabilities == ARMOURED.capabilities
    assert (found.seccomp.type, found.apparmor, found.masked, found.privileged) == ("Unconfined", "", False, True)


@pytest.mark.shows(
    "spec.securityContext.seccompProfile.{type,localhostProfile}",
    "spec.containers[].securityContext.{seccompProfile.type,procMount}",
)
def test_profiles_and_flags() -> None:
    """seccomp of container before pod; no_new_privs, read-only root and procMount as said."""
    assert may().seccomp == Seccomp("RuntimeDefault")
    local = {"type": "Localhost", "localhostProfile": "a.json"}
    assert may({}, seccompProfile=local).seccomp == Seccomp("Localhost", "a.json")
    assert may({"seccompProfile": {"type": "Unconfined"}}, seccompProfile=local).seccomp.type == "Unconfined"
    assert may({"allowPrivilegeEscalation": False}).no_new_privileges
    assert not may({"allowPrivilegeEscalation": True}).no_new_privileges
    assert may({"readOnlyRootFilesystem": True}).read_only_root
    assert may().masked
    assert not may({"procMount": "Unmasked"}).masked


@pytest.mark.shows("spec.securityContext.appArmorProfile")
@pytest.mark.parametrize(
    ("profile", "host", "expected"),
    [
        (None, HOST, ""),
        ({"type": "RuntimeDefault"}, HOST, ""),
        ({"type": "Unconfined"}, HOST, ""),
        (None, ARMOURED, "pinnace-default"),
        ({"type": "RuntimeDefault"}, ARMOURED, "pinnace-default"),
        ({"type": "Localhost", "localhostProfile": "mine"}, ARMOURED, "mine"),
        ({"type": "Unconfined"}, ARMOURED, "unconfined"),
    ],
)
@pytest.mark.shows("spec.containers[].securityContext.appArmorProfile.{type,localhostProfile}")
def test_apparmor_profiles(profile: dict[str, str] | None, host: Host, expected: str) -> None:
    """A node without AppArmor has nothing to apply; one with it applies what is loaded."""
    given = {"appArmorProfile": profile} if profile else {}
    assert may(given, host).apparmor == expected
    assert may({}, host, **given).apparmor == expected


@pytest.mark.parametrize(
    ("profile", "host", "said"),
    [
        ({"type": "Localhost", "localhostProfile": "mine"}, HOST, "AppArmor is not enabled on the host"),
        ({"type": "Localhost", "localhostProfile": "other"}, ARMOURED, '"other" is not loaded'),
        ({"type": "RuntimeDefault"}, Host(tuple(NAMES), frozenset()), '"pinnace-default" is not loaded'),
    ],
)
def test_a_missing_apparmor_profile_is_an_error(profile: dict[str, str], host: Host, said: str) -> None:
    """A profile that was asked for and cannot be applied keeps the container from starting."""
    with pytest.raises(CreateError, match=said):
        may({"appArmorProfile": profile}, host)


def test_pid_namespaces() -> None:
    """The host's before the pod's before another container's before its own."""
    message = pod()
    assert pid_namespace(message) == "own"
    assert pid_namespace(message, target=True) == "container"
    message.spec.shareProcessNamespace = True
    assert pid_namespace(message, target=True) == "pod"
    message.spec.hostPID = True
    assert pid_namespace(message) == "host"


@pytest.mark.parametrize(("spec", "expected"), [({}, False), ({"hostUsers": True}, False), ({"hostUsers": False}, True)])
def test_a_pod_has_a_user_namespace_only_where_it_asks(spec: dict[str, bool], expected: bool) -> None:
    """`hostUsers` unset means the host's."""
    assert needs_ids(pod_pb2.Pod(spec=spec)) is expected
