"""Rules with resourceNames over REST: which requests have a name, and what applying takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import access, objects
from tests.support.cluster import Cluster
from tests.support.rest import Rest

MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = "application/apply-patch+yaml"


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def allowed(cluster: Cluster, verbs: str, *, names: str = "") -> Rest:
    """A client whose only permission is this one on ConfigMaps."""
    await cluster.create(access.role("some", access.rule(verbs, "configmaps", names=names)))
    await cluster.create(access.role_binding("some", "Role/some", "User:jane"))
    return Rest(cluster, access.user("jane"))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("metadata.name=a", 200), ("metadata.name==a,metadata.namespace=default", 200), ("metadata.name=b", 403), ("", 403),
        ("metadata.name!=a", 403), ("metadata.name=a,metadata.name=b", 403), ("metadata.name=", 403), ("metadata.name", 403),
        ("metadata.name=a%2F..", 403), ("metadata.namespace=a", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("watch", ["", "watch=1&timeoutSeconds=1&"])
async def test_a_list_by_name_is_of_that_name(cluster: Cluster, watch: str, fields: str, status: int) -> None:
    """As clients watch one object that they may watch."""
    await cluster.create(objects.config_map("a"))
    rest = await allowed(cluster, "list watch", names="a")
    answer = await rest.respond("GET", f"{MAPS}?{watch}fieldSelector={fields}")
    assert answer.status == status
    if not isinstance(answer.body, bytes):
        await answer.body.aclose()


async def test_a_collection_is_not_deleted_by_name(cluster: Cluster) -> None:
    """As in Kubernetes, whose request has the name of lists and watches alone."""
    rest = await allowed(cluster, "deletecollection", names="a")
    assert (await rest.ask("DELETE", f"{MAPS}?fieldSelector=metadata.name=a"))[0] == 403


@pytest.mark.parametrize(
    ("verbs", "names", "new", "old"), [("patch", "", 403, 200), ("patch create", "", 201, 200), ("patch create", "a", 201, 200)]
)
async def test_what_an_apply_creates_may_be_created(cluster: Cluster, verbs: str, names: str, new: int, old: int) -> None:
    """With its name, which a create by POST does not have; a change takes the right to patch alone."""
    rest = await allowed(cluster, verbs, names=names)
    path = f"{MAPS}/a?fieldManager=me"
    assert (await rest.ask("PATCH", f"{path}&dryRun=All", config_map("a"), content_type=APPLY))[0] == new
    assert (await rest.ask("PATCH", path, config_map("a"), content_type=APPLY))[0] == new
    await Rest(cluster).ask("PATCH", path, config_map("a"), content_type=APPLY)
    assert (await rest.ask("PATCH", path, config_map("a"), content_type=APPLY))[0] == old
