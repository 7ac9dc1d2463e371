"""Authorization: what bindings, nodes' pods and system:masters allow, in kube-apiserver's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.access import rbac
from controlplane.access.attributes import Attributes, at, on
from controlplane.access.authorizer import require
from controlplane.access.authorizers import Authorizers
from controlplane.access.identity import Identity
from pinnace import kinds
from pinnace.errors import Forbidden
from pinnace.kinds import Kind
from tests.support import objects
from tests.support.access import cluster_role, cluster_role_binding, paths, role, role_binding, rule, user
from tests.support.cluster import Cluster, running
from tests.support.storage import claim, using, volume

JANE = user("jane", "staff")
BUILDER = user("system:serviceaccount:default:builder", "system:serviceaccounts", "system:serviceaccounts:default")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running() as cluster:
        yield cluster


def namespace(name: str) -> Any:
    made = kinds.NAMESPACE.cls()
    made.metadata.name = name
    return made


def reason(cluster: Cluster, request: Attributes) -> str | None:
    """Why a request is allowed; None for one that is not."""
    decision = Authorizers(cluster.store).authorize(request)
    return decision.reason if decision.allowed else None


def refusal(cluster: Cluster, request: Attributes) -> str:
    with pytest.raises(Forbidden) as found:
        require(Authorizers(cluster.store), request)
    return found.value.message


def may(cluster: Cluster, who: Identity, verb: str, kind: Kind, **where: str) -> bool:
    return reason(cluster, on(who, verb, kind, **where)) is not None


async def test_a_binding_allows_in_its_namespace(cluster: Cluster) -> None:
    """And a ClusterRole that it grants, there alone."""
    await cluster.create(namespace("other"))
    await cluster.create(role("reader", rule("get", "pods")))
    await cluster.create(cluster_role("lister", rule("list", "pods")))
    await cluster.create(role_binding("read", "Role/reader", "User:jane"))
    await cluster.create(role_binding("list", "ClusterRole/lister", "Group:staff"))
    assert reason(cluster, on(JANE, "get", kinds.POD, namespace="default", name="x")) == (
        'RBAC: allowed by RoleBinding "read/default" of Role "reader" to User "jane"'
    )
    assert reason(cluster, on(JANE, "list", kinds.POD, namespace="default")) == (
        'RBAC: allowed by RoleBinding "list/default" of ClusterRole "lister" to Group "staff"'
    )
    assert not may(cluster, JANE, "get", kinds.POD, namespace="other", name="x")
    assert not may(cluster, JANE, "list", kinds.POD)
    assert not may(cluster, user("john"), "get", kinds.POD, namespace="default", name="x")


async def test_a_cluster_binding_allows_everywhere(cluster: Cluster) -> None:
    """In each namespace, in all of them, on cluster-wide kinds and on paths."""
    await cluster.create(cluster_role("reader", rule("get list", "pods nodes"), paths("get", "/metrics")))
    await cluster.create(cluster_role_binding("read", "reader", "ServiceAccount:default/builder"))
    assert reason(cluster, on(BUILDER, "get", kinds.POD, namespace="other", name="x")) == (
        'RBAC: allowed by ClusterRoleBinding "read" of ClusterRole "reader" to ServiceAccount "builder/default"'
    )
    assert may(cluster, BUILDER, "list", kinds.POD)
    assert may(cluster, BUILDER, "get", kinds.NODE, name="n1")
    assert reason(cluster, at(BUILDER, "get", "/metrics")) is not None
    assert reason(cluster, at(BUILDER, "get", "/other")) is None


async def test_an_account_without_namespace_is_of_the_binding_s(cluster: Cluster) -> None:
    await cluster.create(namespace("other"))
    await cluster.create(cluster_role("reader", rule("get", "pods")))
    await cluster.create(role_binding("read", "ClusterRole/reader", "ServiceAccount:builder", namespace="other"))
    assert not may(cluster, BUILDER, "get", kinds.POD, namespace="other", name="x")
    other = user("system:serviceaccount:other:builder")
    assert may(cluster, other, "get", kinds.POD, namespace="other", name="x")


async def test_an_answer_follows_each_change_at_once(cluster: Cluster) -> None:
    """Of the role, of the binding's subjects, and of their deletion: a check after a write sees it."""
    await cluster.create(role("reader", rule("get", "pods")))
    await cluster.create(role_binding("read", "Role/reader", "User:jane"))
    authorizers = Authorizers(cluster.store)

    def allowed(who: Identity, verb: str) -> bool:
        return authorizers.authorize(on(who, verb, kinds.POD, namespace="default", name="x")).allowed

    assert (allowed(JANE, "get"), allowed(JANE, "list")) == (True, False)
    await cluster.change(kinds.ROLE, "reader", lambda item: item.rules[0].verbs.append("list"))
    assert allowed(JANE, "list")
    await cluster.change(kinds.ROLE_BINDING, "read", lambda item: setattr(item.subjects[0], "name", "john"))
    assert (allowed(JANE, "get"), allowed(user("john"), "get")) == (False, True)
    await cluster.delete(kinds.ROLE, "reader")
    assert not allowed(user("john"), "get")
    await cluster.create(role("reader", rule("get", "pods")))
    assert allowed(user("john"), "get")
    await cluster.delete(kinds.ROLE_BINDING, "read")
    assert not allowed(user("john"), "get")


async def test_refusals_are_in_kubernetes_words(cluster: Cluster) -> None:
    """With the role that a binding names and that does not exist."""
    get = on(JANE, "get", kinds.POD, namespace="ns", name="x")
    words = 'User "jane" cannot get resource "pods" in API group "" in the namespace "ns"'
    assert refusal(cluster, get) == f'pods "x" is forbidden: {words}'
    assert refusal(cluster, on(JANE, "list", kinds.ROLE, namespace="ns")) == (
        'roles.rbac.authorization.k8s.io is forbidden: User "jane" cannot list resource "roles" in API group '
        '"rbac.authorization.k8s.io" in the namespace "ns"'
    )
    assert refusal(cluster, on(JANE, "create", kinds.POD, namespace="ns", name="x", subresource="exec")) == (
        'pods "x" is forbidden: User "jane" cannot create resource "pods/exec" in API group "" in the namespace "ns"'
    )
    assert refusal(cluster, on(JANE, "list", kinds.NODE)) == (
        'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert refusal(cluster, at(JANE, "get", "/metrics")) == 'forbidden: User "jane" cannot get path "/metrics"'
    await cluster.create(cluster_role_binding("read", "absent", "User:jane"))
    absent = 'RBAC: clusterrole.rbac.authorization.k8s.io "absent" not found'
    assert refusal(cluster, get) == f'pods "x" is forbidden: {words}: {absent}'


async def test_masters_may_do_everything(cluster: Cluster) -> None:
    """Without any binding."""
    admin = user("admin", "system:masters")
    assert may(cluster, admin, "delete", kinds.NODE, name="n1")
    assert reason(cluster, at(admin, "post", "/x")) is not None


async def test_a_namespace_is_readable_from_within(cluster: Cluster) -> None:
    """By a role of that namespace."""
    await cluster.create(role("r", rule("get", "namespaces")))
    await cluster.create(role_binding("b", "Role/r", "User:jane"))
    assert may(cluster, JANE, "get", kinds.NAMESPACE, name="default")
    assert not may(cluster, JANE, "get", kinds.NAMESPACE, name="kube-system")


def a_pod(name: str, node: str, **names: Any) -> Any:
    made = objects.pod(name)
    made.spec.nodeName = node
    made.spec.serviceAccountName = names.get("account", "")
    for name_, secret in names.get("secrets", {}).items():
        made.spec.volumes.add(name=name_).volumeSource.secret.secretName = secret
    for config in names.get("configs", ()):
        made.spec.containers[0].envFrom.add().configMapRef.localObjectReference.name = config
    return made


async def test_a_node_reads_what_its_pods_name(cluster: Cluster) -> None:
    """Secrets and ConfigMaps by name, as long as such a pod is there."""
    await cluster.join("n1")
    await cluster.join("n2")
    await cluster.create(a_pod("a", "n1", secrets={"v": "s1"}, configs=("c1",)))
    await cluster.create(a_pod("b", "n2", secrets={"v": "s2"}))
    node = user("system:node:n1", "system:nodes")
    assert may(cluster, node, "get", kinds.SECRET, namespace="default", name="s1")
    assert may(cluster, node, "watch", kinds.CONFIG_MAP, namespace="default", name="c1")
    assert not may(cluster, node, "update", kinds.SECRET, namespace="default", name="s1")
    assert not may(cluster, node, "list", kinds.SECRET, namespace="default")
    assert not may(cluster, node, "get", kinds.SECRET, namespace="kube-system", name="s1")
    assert refusal(cluster, on(node, "get", kinds.SECRET, namespace="default", name="s2")) == (
        'secrets "s2" is forbidden: User "system:node:n1" cannot get resource "secrets" in API group "" in the namespace '
        "\"default\": no relationship found between node 'n1' and this object"
    )
    await cluster.delete(kinds.POD, "a", grace=0)
    assert not may(cluster, node, "get", kinds.SECRET, namespace="default", name="s1")


async def test_a_node_reads_claims_and_volumes_of_its_pods(cluster: Cluster) -> None:
    """One by one, and no others; a volume that only refers to such a claim is not its volume."""
    pod = using("data", nodeName="n1")
    await cluster.create(volume("pv"))
    await cluster.create(volume("pw", claimRef={"namespace": "default", "name": "data"}))
    await cluster.create(claim("data", volumeName="pv"))
    await cluster.create(claim("other"))
    await cluster.create(pod)
    node, claims = user("system:node:n1", "system:nodes"), {"namespace": "default"}
    assert may(cluster, node, "get", kinds.PERSISTENT_VOLUME_CLAIM, name="data", **claims)
    assert may(cluster, node, "get", kinds.PERSISTENT_VOLUME, name="pv")
    assert not may(cluster, node, "get", kinds.PERSISTENT_VOLUME_CLAIM, name="other", **claims)
    assert not may(cluster, node, "get", kinds.PERSISTENT_VOLUME, name="pw")
    assert not may(cluster, node, "list", kinds.PERSISTENT_VOLUME)
    assert not may(cluster, node, "update", kinds.PERSISTENT_VOLUME_CLAIM, name="data", **claims)
    assert not may(cluster, node, "get", kinds.PERSISTENT_VOLUME_CLAIM, name="data", subresource="status", **claims)
    assert not may(cluster, user("system:node:n2", "system:nodes"), "get", kinds.PERSISTENT_VOLUME, name="pv")


async def test_a_node_reads_its_own(cluster: Cluster) -> None:
    """Its Node, its Lease and its pods, and writes none of them here; the group without the name is no node."""
    await cluster.join("n1")
    await cluster.create(a_pod("a", "n1"))
    await cluster.create(a_pod("b", "n2"))
    node = user("system:node:n1", "system:nodes")
    lease = {"namespace": "kube-node-lease"}
    assert may(cluster, node, "get", kinds.NODE, name="n1")
    assert not may(cluster, node, "get", kinds.NODE, name="n2")
    assert not may(cluster, node, "list", kinds.NODE)
    assert not may(cluster, node, "patch", kinds.NODE, name="n1")
    assert may(cluster, node, "get", kinds.LEASE, name="n1", **lease)
    assert not may(cluster, node, "get", kinds.LEASE, name="n2", **lease)
    assert not may(cluster, node, "get", kinds.LEASE, namespace="kube-system", name="n1")
    assert may(cluster, node, "get", kinds.POD, namespace="default", name="a", subresource="status")
    assert not may(cluster, node, "get", kinds.POD, namespace="default", name="b")
    assert not may(cluster, node, "delete", kinds.POD, namespace="default", name="a")
    assert may(cluster, node, "list", kinds.RUNTIME_CLASS)
    assert not may(cluster, user("x", "system:nodes"), "get", kinds.NODE, name="n1")
    assert not may(cluster, user("system:node:n1"), "get", kinds.NODE, name="n1")


async def test_a_node_makes_tokens_of_its_pods_accounts(cluster: Cluster) -> None:
    account = kinds.SERVICE_ACCOUNT.cls()
    account.metadata.name, account.metadata.namespace = "builder", "default"
    await cluster.create(account)
    await cluster.create(a_pod("a", "n1", account="builder"))
    node = user("system:node:n1", "system:nodes")
    token: dict[str, str] = {"namespace": "default", "subresource": "token"}
    assert may(cluster, node, "create", kinds.SERVICE_ACCOUNT, name="builder", **token)
    assert not may(cluster, node, "create", kinds.SERVICE_ACCOUNT, name="other", **token)
    assert not may(cluster, node, "create", kinds.SERVICE_ACCOUNT, name="builder", namespace="default")
    assert not may(cluster, user("system:node:n2", "system:nodes"), "create", kinds.SERVICE_ACCOUNT, name="builder", **token)


async def test_a_check_does_not_read_bindings_of_others(cluster: Cluster) -> None:
    """Counted in rows that a check reads: the same with ten bindings of others and with a thousand."""
    await cluster.create(cluster_role("reader", rule("get", "pods")))
    await cluster.create(role_binding("mine", "ClusterRole/reader", "User:jane"))

    class Counting:
        rows = 0

        def row(self, kind: Kind, key: str) -> Any:
            self.rows += 1
            return cluster.store.row(kind, key)

        def rows_by(self, kind: Kind, index: Any, value: str) -> Any:
            found = cluster.store.rows_by(kind, index, value)
            self.rows += len(found)
            return found

    def cost() -> int:
        counting = Counting()
        assert Authorizers(counting).authorize(on(JANE, "get", kinds.POD, namespace="default", name="x")).allowed
        assert not Authorizers(counting).authorize(on(JANE, "delete", kinds.POD, namespace="default", name="x")).allowed
        return counting.rows

    few = cost()

    def fill(tx: Any) -> None:
        for number in range(300):
            tx.put(kinds.CLUSTER_ROLE_BINDING, cluster_role_binding(f"b{number}", "reader", f"User:u{number}"))
            tx.put(kinds.ROLE_BINDING, role_binding(f"b{number}", "ClusterRole/reader", f"Group:g{number}"))

    await cluster.store.update(fill)
    assert cost() == few <= 4


async def test_a_check_looks_at_so_many_bindings_and_values(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may write roles in a namespace may bind any number of them to any user there. What is beyond allows nothing, and the
    list of the user's rules says that it is incomplete; rights of the cluster come first."""
    monkeypatch.setattr(rbac, "MAX_BINDINGS", 20)
    monkeypatch.setattr(rbac, "MAX_VALUES", 200)
    await cluster.create(cluster_role("lister", rule("list", "pods")))
    await cluster.create(cluster_role_binding("list", "lister", "User:jane"))
    for number in range(30):
        await cluster.create(role_binding(f"same{number:02}", "ClusterRole/lister", "User:jane"))
    await cluster.create(role("late", rule("get", "pods")))
    await cluster.create(role_binding("z", "Role/late", "User:jane"))
    get = on(JANE, "get", kinds.POD, namespace="default", name="x")
    assert may(cluster, JANE, "list", kinds.POD, namespace="default")
    assert rbac.TOO_MANY in Authorizers(cluster.store).authorize(get).reason
    monkeypatch.setattr(rbac, "MAX_BINDINGS", 40)
    assert may(cluster, JANE, "get", kinds.POD, namespace="default", name="x")
    await cluster.create(role("large", *(rule("get", f"r{number}") for number in range(100))))
    await cluster.create(role_binding("a", "Role/large", "User:jane"))
    found = Authorizers(cluster.store).rules_for(JANE, "default")
    assert (found.incomplete, found.errors) == (True, (rbac.TOO_MANY,))
    assert not may(cluster, JANE, "get", kinds.POD, namespace="default", name="x")


async def test_many_large_roles_cost_a_check_no_more(cluster: Cluster) -> None:
    """Each of two thousand rules; without a limit listing them took minutes, and writing a role as long."""
    for number in range(40):
        made = role(f"r{number}", *(rule("get", f"x{index}") for index in range(2_000)))
        await cluster.store.update(lambda tx, made=made: tx.put(kinds.ROLE, made))
        for twice in range(5):
            await cluster.create(role_binding(f"b{number}-{twice}", f"Role/r{number}", "User:jane"))
    found = Authorizers(cluster.store).rules_for(JANE, "default")
    assert found.incomplete
    assert len(found.rules) * 4 <= rbac.MAX_VALUES + 8_000
