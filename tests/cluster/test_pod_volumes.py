"""What the API refuses of a pod's volumes, mounts, variables and names: by field, and in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import errors, kinds
from tests.support.api import Api

NAME_FIELD = {"fieldRef": {"fieldPath": "metadata.name"}}


def manifest(**rest: Any) -> dict[str, Any]:
    """A pod whose container has the fields that only containers have."""
    own = {key: rest.pop(key) for key in ("env", "envFrom", "volumeMounts", "securityContext") if key in rest}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "busybox", **own}], **rest},
    }


def projected(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "projected": {"sources": list(sources)}}]}


def files(*items: dict[str, Any]) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "downwardAPI": {"items": list(items)}}]}


def mounted(**mount: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", "emptyDir": {}}], "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}


def variable(**source: Any) -> dict[str, Any]:
    return {"env": [{"name": "A", "valueFrom": source}]}


def settings(*paths: str) -> dict[str, Any]:
    return {"name": "c", "items": [{"key": "a", "path": path} for path in paths]}


async def faults(api: Api, rest: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(errors.Invalid) as caught:
        await api.create(kinds.POD, manifest(**rest))
    return {cause.field: cause.message for cause in caught.value.causes}


UNSUPPORTED = "Pinnace does not support this field yet"
VOLUME, MOUNT = "spec.volumes[0]", "spec.containers[0].volumeMounts[0]"
VALUE = "spec.containers[0].env[0].valueFrom"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        projected({"serviceAccountToken": {"path": "t", "user": 1}}),
        f"{VOLUME}.projected.sources[0].serviceAccountToken.user",
        UNSUPPORTED,
    ),
    (projected({"clusterTrustBundle": {"path": "t"}}), f"{VOLUME}.projected.sources[0].clusterTrustBundle", UNSUPPORTED),
    (projected({"podCertificate": {"keyPath": "t"}}), f"{VOLUME}.projected.sources[0].podCertificate", UNSUPPORTED),
    (projected({"secret": {"name": "s"}, "configMap": {"name": "c"}}), f"{VOLUME}.projected.sources[0]", "more than 1 volume type"),
    (projected({"secret": {}}), f"{VOLUME}.projected.sources[0].secret.name", "Required value"),
    (projected({"configMap": {}}), f"{VOLUME}.projected.sources[0].configMap.name", "Required value"),
    (
        projected({"configMap": settings("a/b")}, {"secret": settings("a")}),
        f"{VOLUME}.projected.sources[1].secret.items[0].path", "conflicting duplicate paths",
    ),
    (
        projected({"configMap": settings("x")}, {"downwardAPI": {"items": [{"path": "x", **NAME_FIELD}]}}),
        f"{VOLUME}.projected.sources[1].downwardAPI.items[0].path", "conflicting duplicate paths",
    ),
    ({"volumes": [{"name": "v", "configMap": settings("a/b", "./a")}]}, f"{VOLUME}.configMap.items[1].path", "conflicting"),
    ({"volumes": [{"name": "v", "configMap": settings("a", "a/b")}]}, f"{VOLUME}.configMap.items[1].path", "conflicting"),
    ({"volumes": [{"name": "v", "configMap": settings("../a")}]}, f"{VOLUME}.configMap.items[0].path", "must not contain '..'"),
    ({"volumes": [{"name": "v", "configMap": {}}]}, f"{VOLUME}.configMap.name", "Required value"),
    ({"volumes": [{"name": "v", "secret": {}}]}, f"{VOLUME}.secret.secretName", "Required value"),
    ({"volumes": [{"name": "v", "secret": {"secretName": "s", "defaultMode": 0o1000}}]}, f"{VOLUME}.secret.defaultMode", "between 0 and 0777 (octal)"),
    ({"volumes": [{"name": "v", "secret": {"secretName": "s", "defaultUser": 1}}]}, f"{VOLUME}.secret.defaultUser", UNSUPPORTED),
    ({"volumes": [{"name": "v", "downwardAPI": {"defaultMode": -1}}]}, f"{VOLUME}.downwardAPI.defaultMode", "between 0 and 0777 (octal)"),
    (files({"path": "a"}), f"{VOLUME}.downwardAPI.items[0]", "one of fieldRef and resourceFieldRef is required"),
    (files({"path": "a", "mode": 512, **NAME_FIELD}), f"{VOLUME}.downwardAPI.items[0].mode", "between 0 and 0777 (octal)"),
    (files({"path": "a", "user": 1, **NAME_FIELD}), f"{VOLUME}.downwardAPI.items[0].user", UNSUPPORTED),
    (files({**NAME_FIELD}), f"{VOLUME}.downwardAPI.items[0].path", "Required value"),
    (files({"path": "/a", **NAME_FIELD}), f"{VOLUME}.downwardAPI.items[0].path", "relative path"),
    (
        files({"path": "a", **NAME_FIELD, "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}}),
        f"{VOLUME}.downwardAPI.items[0]", "can not be specified simultaneously",
    ),
    (
        files({"path": "a", "fieldRef": {"fieldPath": "status.podIP"}}),
        f"{VOLUME}.downwardAPI.items[0].fieldRef.fieldPath", 'Unsupported value: "status.podIP"',
    ),
    (
        files({"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}),
        f"{VOLUME}.downwardAPI.items[0].resourceFieldRef.containerName", "Required value",
    ),
    ({"volumes": [{"name": "v", "emptyDir": {"medium": "HugePages"}}]}, f"{VOLUME}.emptyDir.medium", 'supported values: "Memory"'),
    ({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "-1"}}]}, f"{VOLUME}.emptyDir.sizeLimit", "must be a valid resource quantity"),
    ({"volumes": [{"name": "v", "emptyDir": {"mode": 0o10000}}]}, f"{VOLUME}.emptyDir.mode", "must be between 0 and 4095, inclusive"),
    ({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]}, f"{VOLUME}.hostPath.path", "must not contain '..'"),
    ({"volumes": [{"name": "v", "image": {}}]}, f"{VOLUME}.image.reference", "Required value"),
    ({"volumes": [{"name": "v", "image": {"reference": "a "}}]}, f"{VOLUME}.image.reference", "must not have leading or trailing whitespace"),
    ({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]}, f"{VOLUME}.emptyDir", "more than 1 volume type"),
    ({"volumes": [{"name": "v"}, {"name": "v"}]}, "spec.volumes[1].name", 'Duplicate value: "v"'),
    (mounted(name="w"), f"{MOUNT}.name", 'Not found: "w"'),
    (mounted(subPath="a", subPathExpr="b"), f"{MOUNT}.subPathExpr", "subPathExpr and subPath are mutually exclusive"),
    (mounted(subPath="/a"), f"{MOUNT}.subPath", "relative path"),
    (mounted(subPathExpr="$(A)/../b"), f"{MOUNT}.subPathExpr", "must not contain '..'"),
    (mounted(mountPropagation="Bidirectional"), f"{MOUNT}.mountPropagation", "available only to privileged containers"),
    (mounted(recursiveReadOnly="IfPossible"), f"{MOUNT}.recursiveReadOnly", "only be specified when readOnly is true"),
    (
        mounted(readOnly=True, recursiveReadOnly="Enabled", mountPropagation="HostToContainer"),
        f"{MOUNT}.recursiveReadOnly", "only be specified when mountPropagation is None or not specified",
    ),
    (variable(), VALUE, "must specify one of"),
    (variable(**NAME_FIELD, configMapKeyRef={"name": "c", "key": "k"}), VALUE, "may not have more than one field specified"),
    (variable(fieldRef={"fieldPath": "metadata.labels"}), f"{VALUE}.fieldRef.fieldPath", 'Unsupported value: "metadata.labels"'),
    (
        variable(fieldRef={"fieldPath": "metadata.name", "apiVersion": "v2"}),
        f"{VALUE}.fieldRef.fieldPath", "unsupported pod version: v2",
    ),
    (variable(resourceFieldRef={"resource": "limits.gpu"}), f"{VALUE}.resourceFieldRef.resource", 'Unsupported value: "limits.gpu"'),
    (
        variable(resourceFieldRef={"resource": "limits.cpu", "divisor": "1Mi"}),
        f"{VALUE}.resourceFieldRef.divisor", "only divisor's values 1m and 1 are supported with the cpu resource",
    ),
    (
        variable(resourceFieldRef={"resource": "limits.memory", "divisor": "1m"}),
        f"{VALUE}.resourceFieldRef.divisor", "are supported with the memory resource",
    ),
    (variable(secretKeyRef={"key": "k"}), f"{VALUE}.secretKeyRef.name", "a lowercase RFC 1123 subdomain must consist"),
    ({"envFrom": [{}]}, "spec.containers[0].envFrom[0]", "must specify one of: `configMapRef` or `secretRef`"),
    ({"envFrom": [{"secretRef": {}}]}, "spec.containers[0].envFrom[0].secretRef.name", "Required value"),
    ({"envFrom": [{"prefix": "a=", "secretRef": {"name": "s"}}]}, "spec.containers[0].envFrom[0].prefix", "printable ASCII characters other than '='"),
    ({"dnsPolicy": "None"}, "spec.dnsConfig", "must provide `dnsConfig`"),
    ({"dnsConfig": {"nameservers": ["1.1.1.1"] * 4}}, "spec.dnsConfig.nameservers", "must not have more than 3 nameservers"),
    ({"dnsConfig": {"nameservers": ["one"]}}, "spec.dnsConfig.nameservers[0]", "must be a valid IP address"),
    ({"dnsConfig": {"searches": ["a"] * 33}}, "spec.dnsConfig.searches", "must not have more than 32 search paths"),
    ({"dnsConfig": {"searches": ["UPPER"]}}, "spec.dnsConfig.searches[0]", "a lowercase RFC 1123 subdomain must consist"),
    ({"dnsConfig": {"searches": [".".join(["x" * 60] * 4)] * 9}}, "spec.dnsConfig.searches", "more than 2048 characters"),
    ({"dnsConfig": {"options": [{"value": "1"}]}}, "spec.dnsConfig.options[0]", "must not be empty"),
    ({"dnsConfig": {"options": [{"name": "a\nnameserver 1.1.1.1"}]}}, "spec.dnsConfig.options[0]", "must not contain spaces"),
    ({"hostAliases": [{"ip": "one", "hostnames": ["a"]}]}, "spec.hostAliases[0].ip", "must be a valid IP address"),
    ({"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a b"]}]}, "spec.hostAliases[0].hostnames[0]", "a lowercase RFC 1123 subdomain must consist"),
    ({"hostname": "a.b"}, "spec.hostname", "must not contain dots"),
    ({"hostnameOverride": "a" * 65}, "spec.hostnameOverride", "may not be more than 64 bytes"),
    ({"hostnameOverride": "a", "setHostnameAsFQDN": True}, "spec.hostnameOverride", "when setHostnameAsFQDN is true"),
    ({"hostnameOverride": "a", "hostNetwork": True}, "spec.hostnameOverride", "when hostNetwork is true"),
]  # fmt: skip


@pytest.mark.parametrize(("rest", "field", "message"), REFUSED)
async def test_what_makes_no_sense_is_refused_by_name(api: Api, rest: dict[str, Any], field: str, message: str) -> None:
    """One field is at fault, and it is the one that is named."""
    found = await faults(api, rest)
    assert message in found.pop(field, "")
    assert found == {}


async def test_what_makes_sense_is_taken(api: Api) -> None:
    """All sources side by side, and what looks like a fault but is none."""
    sources = [
        {"configMap": settings("a/b", "c")},
        {"secret": settings("a/d")},
        {"downwardAPI": {"items": [{"path": "e", **NAME_FIELD}]}},
    ]
    made = await api.create(
        kinds.POD,
        manifest(
            volumes=[{"name": "v", "projected": {"sources": sources}}, {"name": "w", "image": {"reference": "busybox:1"}}],
            volumeMounts=[
                {"name": "v", "mountPath": "/v", "readOnly": True, "recursiveReadOnly": "IfPossible"},
                {"name": "w", "mountPath": "/w", "mountPropagation": "Bidirectional", "subPath": "bin"},
            ],
            securityContext={"privileged": True},
            env=[{"name": "M", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1024"}}}],
            dnsConfig={"searches": ["_tcp.example.com.", "."], "options": [{"name": "ndots", "value": "1"}]},
        ),
    )  # fmt: skip
    volume = made.spec.volumes[0].volumeSource.projected
    assert (volume.defaultMode, volume.sources[2].downwardAPI.items[0].fieldRef.apiVersion) == (0o644, "v1")
    assert made.spec.volumes[1].volumeSource.image.pullPolicy == "IfNotPresent"


async def test_the_agent_is_told_of_projected_objects(api: Api) -> None:
    """They come with the pod, like those of other volumes."""
    from pinnace.podreferences import config_keys

    sources = projected({"configMap": {"name": "c"}}, {"secret": {"name": "s"}})
    made = await api.create(kinds.POD, manifest(automountServiceAccountToken=False, **sources))
    assert config_keys(made) == {kinds.CONFIG_MAP.key("default", "c"), kinds.SECRET.key("default", "s")}


async def test_very_many_and_very_deep_paths_are_judged_in_time(api: Api) -> None:
    """Work grows with the manifest, not with its square. As many as an object may have values: two in each item, and itself."""
    many = [{"key": "a", "path": f"f{n}"} for n in range(3_000)]
    found = await faults(
        api, {"volumes": [{"name": "v", "configMap": {"name": "c", "items": [*many, {"key": "a", "path": "f7/x"}]}}]}
    )
    assert list(found) == [f"{VOLUME}.configMap.items[3000].path"]
    deep = "/".join("a" * 60_000)
    found = await faults(api, {"volumes": [{"name": "v", "configMap": settings(deep, f"{deep}/b")}]})
    assert list(found) == [f"{VOLUME}.configMap.items[1].path"]
