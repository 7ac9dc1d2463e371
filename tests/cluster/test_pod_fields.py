"""Fields of a pod that the API alone gives a meaning to, or whose meaning waits for something that is not there yet."""

from __future__ import annotations

import pytest

from pinnace import errors, kinds
from tests.support.api import Api, pod_manifest

POD = kinds.POD


@pytest.mark.shows("spec.os.name")
async def test_a_pod_for_another_system_is_refused(api: Api) -> None:
    """All nodes run Linux."""
    assert (await api.create(POD, pod_manifest(os={"name": "linux"}))).spec.os.name == "linux"
    with pytest.raises(errors.Invalid, match=r"spec\.os\.name.*windows"):
        await api.create(POD, pod_manifest("other", os={"name": "windows"}))


@pytest.mark.shows("spec.serviceAccountName", "spec.serviceAccount")
async def test_the_service_account_has_one_value_under_two_names(api: Api) -> None:
    """`default` when neither is set; either may be set, and the newer name wins where both are."""
    for account in ("robot", "new"):
        await api.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": account}})
    assert (await api.create(POD, pod_manifest())).spec.serviceAccount == "default"
    made = await api.create(POD, pod_manifest("other", serviceAccountName="robot"))
    assert (made.spec.serviceAccountName, made.spec.serviceAccount) == ("robot", "robot")
    older = await api.create(POD, pod_manifest("older", serviceAccount="robot"))
    assert (older.spec.serviceAccountName, older.spec.serviceAccount) == ("robot", "robot")
    both = await api.create(POD, pod_manifest("both", serviceAccount="old", serviceAccountName="new"))
    assert (both.spec.serviceAccountName, both.spec.serviceAccount) == ("new", "new")


async def test_a_changed_service_account_is_refused_under_either_name(api: Api) -> None:
    """A pod keeps its account; the older name is compared too, so that a change is not lost."""
    await api.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "robot"}})
    assert (await api.apply(pod_manifest(serviceAccount="robot")))[0][0] == "created"
    assert (await api.apply(pod_manifest(serviceAccount="robot")))[0][0] == "unchanged"
    [(outcome, error)] = await api.apply(pod_manifest(serviceAccount="other"))
    assert outcome == "failed"
    assert "spec: Forbidden" in str(error)


async def test_what_asks_for_things_yet_to_come_is_kept(api: Api) -> None:
    """Manifests that say it are taken and read back as written; Kubernetes' defaults are there."""
    plain = (await api.create(POD, pod_manifest())).spec
    assert (plain.enableServiceLinks, plain.preemptionPolicy) == (True, "PreemptLowerPriority")
    rest = {"enableServiceLinks": False, "preemptionPolicy": "Never"}
    made = (await api.create(POD, pod_manifest("other", **rest))).spec
    assert (made.enableServiceLinks, made.preemptionPolicy) == (False, "Never")
    with pytest.raises(errors.Invalid, match=r"spec\.preemptionPolicy"):
        await api.create(POD, pod_manifest("third", preemptionPolicy="Perhaps"))


@pytest.mark.shows("spec.containers[].ports[].{name,containerPort,protocol}")
async def test_ports_are_checked_and_default_to_tcp(api: Api) -> None:
    """They open nothing: they name what the program listens on."""

    def ports(*items: dict[str, object]) -> dict[str, object]:
        return {"containers": [{"name": "main", "image": "busybox", "ports": list(items)}]}

    made = await api.create(POD, pod_manifest(**ports({"containerPort": 80, "name": "http"})))
    assert made.spec.containers[0].ports[0].protocol == "TCP"
    wrong = ports({"containerPort": 80, "name": "a"}, {"containerPort": 0}, {"containerPort": 1, "name": "a", "protocol": "X"})
    with pytest.raises(errors.Invalid) as caught:
        await api.create(POD, pod_manifest("other", **wrong))
    fields = {cause.field.removeprefix("spec.containers[0].") for cause in caught.value.causes}
    assert fields == {"ports[1].containerPort", "ports[2].name", "ports[2].protocol"}
