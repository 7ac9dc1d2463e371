"""A container's environment: order, references, expansion, and what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.pods.spec.environment import ConfigError, Environment, environment, expand, expand_path
from pinnace import kinds
from tests.support.objects import config_map, container, make, pod

FACTS = {
    "hostname": "web", "status.podIP": "10.244.1.2", "status.hostIP": "192.0.2.1",
    "allocatable.cpu": "4", "allocatable.memory": "8Gi", "allocatable.ephemeral-storage": "10Gi", "status.hostIPs": "192.0.2.1",
    "status.podIPs": "10.244.1.2",
}  # fmt: skip


def variables(*env: Any, **rest: Any) -> dict[str, str]:
    """All variables of a pod's only container."""
    return made(*env, **rest).all


def made(
    *env: Any, image_env: tuple[str, ...] = (), objects: tuple[Any, ...] = (), services: dict[str, str] | None = None, **rest: Any
) -> Environment:  # fmt: skip
    subject = pod(
        "web",
        container(env=list(env), **rest),
        meta={"uid": "u1", "labels": {"app": "x"}},
        nodeName="n1",
        serviceAccountName="keeper",
    )
    known = {(item.DESCRIPTOR.name, item.metadata.name): item for item in objects}
    container_, lookup = subject.spec.containers[0], lambda kind, name: known.get((kind, name))
    return environment(subject, container_, list(image_env), lookup, FACTS, services or {})


def field(path: str) -> dict[str, Any]:
    return {"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource(name: str, **rest: str) -> dict[str, Any]:
    return {"name": "V", "valueFrom": {"resourceFieldRef": {"resource": name, **rest}}}


def key_of(kind: str, name: str, key: str, **rest: Any) -> dict[str, Any]:
    return {"name": "V", "valueFrom": {f"{kind}KeyRef": {"name": name, "key": key, **rest}}}


def secret(**data: bytes) -> Any:
    message = make(kinds.SECRET, "s")
    for key, value in data.items():
        message.data[key] = value
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$(A", "$(A"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(C)", "$(A)"),
    ],
)
def test_references_expand_once_and_unknown_ones_stay(text: str, expected: str) -> None:
    """`$(NAME)`, `$$` for a dollar, nothing else; values are not expanded again."""
    assert expand(text, {"A": "1", "B": "2", "C": "$(A)"}) == expected


def test_later_sources_win() -> None:
    """The image's, then envFrom in order, then env in order."""
    found = variables(
        {"name": "C", "value": "env"}, {"name": "C", "value": "last"}, image_env=("A=image", "B=image", "C=image"),
        envFrom=[{"configMapRef": {"name": "one"}}, {"configMapRef": {"name": "two"}}],
        objects=(config_map("one", {"B": "one", "D": "one"}), config_map("two", {"D": "two"})),
    )  # fmt: skip
    assert found == {"A": "image", "B": "one", "C": "last", "D": "two", "HOSTNAME": "web"}


def test_a_variable_sees_those_before_it_only() -> None:
    """References to later ones stay as written."""
    found = variables(
        {"name": "EARLY", "value": "$(LATE)"}, {"name": "LATE", "value": "1"}, {"name": "AGAIN", "value": "$(LATE)"}
    )
    assert (found["EARLY"], found["AGAIN"]) == ("$(LATE)", "1")


@pytest.mark.shows("spec.containers[].envFrom[].prefix", "spec.containers[].envFrom[].secretRef.name")
def test_prefixes_are_prepended() -> None:
    """Every key is a variable, also one that a shell could not set."""
    source = {"prefix": "P_", "secretRef": {"name": "s"}}
    found = variables(envFrom=[source, {"secretRef": {"name": "s"}}], objects=(secret(**{"1st": b"x"}),))
    assert found == {"P_1st": "x", "1st": "x", "HOSTNAME": "web"}


def test_keys_that_make_no_name_are_skipped_and_said() -> None:
    """The others of the source are taken."""
    found = made(
        envFrom=[{"prefix": "a=", "secretRef": {"name": "s"}}, {"secretRef": {"name": "s"}}], objects=(secret(k=b"x"),)
    )
    assert found.own == {"k": "x"}
    assert found.skipped == (
        "Keys [a=k] from the EnvFrom secret default/s were skipped since they are considered invalid environment variable names.",
    )


def test_references_see_the_manifest_and_not_the_image() -> None:
    """Keys of envFrom and earlier variables; what the image or the runtime adds stays unknown."""
    found = variables(
        {"name": "V", "value": "$(B) $(PATH) $(HOSTNAME)"}, image_env=("PATH=/bin",), objects=(config_map("one", {"B": "b"}),),
        envFrom=[{"configMapRef": {"name": "one"}}],
    )  # fmt: skip
    assert found["V"] == "b $(PATH) $(HOSTNAME)"


def test_a_container_that_is_not_there_has_no_resources() -> None:
    """Kubelet's words."""
    with pytest.raises(ConfigError, match="container other not found"):
        variables(resource("limits.cpu", containerName="other"))


@pytest.mark.shows("spec.containers[].env[].valueFrom.resourceFieldRef.containerName")
def test_resources_of_another_container_can_be_asked_for() -> None:
    """By its name."""
    subject = pod("web", container(env=[resource("limits.memory", containerName="b")]),
                  container("b", resources={"limits": {"memory": "1Ki"}}))  # fmt: skip
    assert environment(subject, subject.spec.containers[0], [], lambda kind, name: None, FACTS, {}).own["V"] == "1024"


def test_bytes_of_a_secret_arrive_as_they_are_and_nul_is_refused() -> None:
    """Also when they are no text."""
    reference = key_of("secret", "s", "k")
    assert variables(reference, objects=(secret(k=b"\xff"),))["V"].encode(errors="surrogateescape") == b"\xff"
    with pytest.raises(ConfigError, match="environment variable V has a NUL byte"):
        variables(reference, objects=(secret(k=b"a\0b"),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)/logs", "one/logs"), ("$$(A)", "$(A)"), ("plain", "plain")],
)
def test_a_path_is_expanded(text: str, expected: str) -> None:
    """As any text, when every name has a value."""
    assert expand_path(text, {"A": "one"}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$(NONE)/$(A)/$(EMPTY)", "missing value for EMPTY, NONE"),
        ("$(UP)/etc", "unable to provision SubPath `../etc`: must not contain '..'"),
        ("$(ROOT)", "error SubPath `/etc` must not be an absolute path"),
    ],
)
def test_a_path_that_leads_out_is_refused(text: str, message: str) -> None:
    """Kubelet's words; a name without a value is an error here."""
    with pytest.raises(ConfigError) as caught:
        expand_path(text, {"A": "one", "EMPTY": "", "UP": "..", "ROOT": "/etc"})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "n1"),
        ("status.podIP", "10.244.1.2"),
        ("status.podIPs", "10.244.1.2"),
        ("status.hostIP", "192.0.2.1"),
        ("status.hostIPs", "192.0.2.1"),
        ("spec.serviceAccountName", "keeper"),
    ],
)
@pytest.mark.shows("spec.containers[].env[].valueFrom.fieldRef.fieldPath")
def test_fields_of_the_pod(path: str, expected: str) -> None:
    """The downward API."""
    assert variables(field(path))["V"] == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (resource("requests.cpu"), "1"),
        (resource("requests.cpu", divisor="1m"), "250"),
        (resource("limits.memory"), "134217728"),
        (resource("limits.memory", divisor="1Mi"), "128"),
        (resource("limits.cpu"), "4"),
        (resource("requests.memory"), "0"),
        (resource("limits.ephemeral-storage", divisor="1Gi"), "10"),
        (resource("limits.memory", divisor="0"), "134217728"),
    ],
)
@pytest.mark.shows("spec.containers[].env[].valueFrom.resourceFieldRef.{resource,divisor}")
def test_resources_are_divided_and_rounded_up(reference: Any, expected: str) -> None:
    """An absent limit is what the node has; an absent request is nothing."""
    found = variables(reference, resources={"requests": {"cpu": "250m"}, "limits": {"memory": "128Mi"}})
    assert found["V"] == expected


def test_keys_of_config_maps_and_secrets() -> None:
    """Secrets are bytes and become text."""
    assert variables(key_of("configMap", "settings", "a"), objects=(config_map(),))["V"] == "1"
    assert variables(key_of("secret", "s", "k"), objects=(secret(k=b"x"),))["V"] == "x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env": [key_of("configMap", "settings", "a")]}, 'configmap "settings" not found'),
        ({"env": [key_of("secret", "s", "k")]}, 'secret "s" not found'),
        ({"env": [key_of("configMap", "other", "b")]}, "couldn't find key b in ConfigMap default/other"),
        ({"envFrom": [{"secretRef": {"name": "s"}}]}, 'secret "s" not found'),
    ],
)
def test_what_is_missing_is_named(arguments: dict[str, Any], message: str) -> None:
    """Kubelet's words, so that searching for them finds help."""
    env = arguments.pop("env", [])
    with pytest.raises(ConfigError) as caught:
        variables(*env, objects=(config_map("other"),), **arguments)
    assert str(caught.value) == message


@pytest.mark.shows(
    "spec.containers[].env[].valueFrom.secretKeyRef.optional",
    "spec.containers[].envFrom[].{configMapRef,secretRef}.optional",
)
def test_what_is_optional_may_be_missing() -> None:
    """The variable is then not there at all."""
    references = [
        key_of("configMap", "none", "a", optional=True),
        key_of("configMap", "other", "none", optional=True),
        key_of("secret", "none", "a", optional=True),
    ]
    sources = [{kind: {"name": "none", "optional": True}} for kind in ("configMapRef", "secretRef")]
    assert variables(*references, envFrom=sources, objects=(config_map("other"),)) == {"HOSTNAME": "web"}


def test_services_are_below_the_manifest_and_above_the_image() -> None:
    """References see them, as in kubelet."""
    services = {"KUBERNETES_SERVICE_HOST": "192.0.2.1", "KUBERNETES_SERVICE_PORT": "6444"}
    found = variables(
        {"name": "URL", "value": "https://$(KUBERNETES_SERVICE_HOST)"}, {"name": "KUBERNETES_SERVICE_PORT", "value": "1"},
        image_env=("KUBERNETES_SERVICE_HOST=image",), services=services,
    )  # fmt: skip
    assert (found["URL"], found["KUBERNETES_SERVICE_HOST"]) == ("https://192.0.2.1", "192.0.2.1")
    assert found["KUBERNETES_SERVICE_PORT"] == "1"
