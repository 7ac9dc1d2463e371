"""The roles and bindings of every cluster, as Kubernetes names them. Data only; `bootstraproles` writes them.

Kubernetes' roles for its own controllers, kubelet's certificates and kube-proxy are left out: here these are parts of the
control plane and the agent, which have no users of their own.
Source: plugin/pkg/auth/authorizer/rbac/bootstrappolicy (policy.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controlplane.access.identity import ACCOUNTS, AUTHENTICATED, MASTERS, UNAUTHENTICATED
from pinnace.admission.rbac import GROUP, USER_GROUP
from pinnace.rbac.v1.rbac_pb2 import ClusterRole, ClusterRoleBinding, PolicyRule, Subject

LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_ALL = ("*",)
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"
_HEALTH = ("/healthz", "/livez", "/readyz", "/version", "/version/")
# Resources by group; a text ends with the subresources that it has too.
_VIEWED = (
    ("", "bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims"
         " persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers replicationcontrollers/scale"
         " replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts services services/status"),
    ("apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets"
             " replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
    ("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    ("batch", "cronjobs cronjobs/status jobs jobs/status"),
    ("discovery.k8s.io", "endpointslices"),
    ("metrics.k8s.io", "nodes pods"),
    ("networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status"),
)  # fmt: skip
_EDITED = (
    ("", "configmaps events persistentvolumeclaims pods pods/attach pods/exec pods/portforward pods/proxy"
         " replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy"),
    ("apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets"
             " statefulsets/scale"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs jobs"),
    ("networking.k8s.io", "ingresses networkpolicies"),
    ("policy", "poddisruptionbudgets"),
)  # fmt: skip


def _rule(verbs: Sequence[str], group: str, resources: str, *names: str) -> PolicyRule:
    return PolicyRule(verbs=verbs, apiGroups=[group], resources=resources.split(), resourceNames=names)


def _paths(*paths: str) -> PolicyRule:
    return PolicyRule(verbs=["get"], nonResourceURLs=paths)


_EDIT_RULES = (
    _rule(_READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    _rule(("impersonate",), "", "serviceaccounts"),
    _rule(("create",), "", "pods/eviction serviceaccounts/token"),
    *(_rule(_WRITE, group, resources) for group, resources in _EDITED),
    _rule((*_READ, *_WRITE), "coordination.k8s.io", "leases"),
)
_ADMIN_RULES = (
    _rule(("create",), _AUTHORIZATION, "localsubjectaccessreviews"),
    _rule((*_READ, *_WRITE), GROUP, "rolebindings roles"),
)
_SCHEDULER_RULES = (
    _rule(("create", "patch", "update"), "", "events"),
    _rule(("create", "patch", "update"), "events.k8s.io", "events"),
    _rule(("create",), "coordination.k8s.io", "leases"),
    _rule(("get", "update"), "coordination.k8s.io", "leases", "kube-scheduler"),
    _rule(_READ, "", "namespaces nodes persistentvolumeclaims persistentvolumes replicationcontrollers services"),
    _rule((*_READ, "delete"), "", "pods"),
    _rule(("create",), "", "bindings pods/binding"),
    _rule(("patch", "update"), "", "pods/status"),
    _rule(_READ, "apps", "replicasets statefulsets"),
    _rule(_READ, "policy", "poddisruptionbudgets"),
    _rule(_READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses"),
    _rule(("create",), _AUTHENTICATION, "tokenreviews"),
    _rule(("create",), _AUTHORIZATION, "subjectaccessreviews"),
)
# The rules that the node authorizer has for every node alike; it limits others to what a node's pods name.
NODE_RULES = (
    _rule(_READ, "", "services"),
    _rule(_READ, "node.k8s.io", "runtimeclasses"),
)
_RULES: dict[str, Sequence[PolicyRule]] = {
    "cluster-admin": (_rule(_ALL, "*", "*"), PolicyRule(verbs=_ALL, nonResourceURLs=_ALL)),
    "system:discovery": (_paths(*_HEALTH, "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"),),
    "system:public-info-viewer": (_paths(*_HEALTH),),
    "system:basic-user": (
        _rule(("create",), _AUTHORIZATION, "selfsubjectaccessreviews selfsubjectrulesreviews"),
        _rule(("create",), _AUTHENTICATION, "selfsubjectreviews"),
    ),
    "system:monitoring": (
        _paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/*", "/readyz", "/readyz/*"),
    ),
    "system:auth-delegator": (
        _rule(("create",), _AUTHENTICATION, "tokenreviews"),
        _rule(("create",), _AUTHORIZATION, "subjectaccessreviews"),
    ),
    "system:service-account-issuer-discovery": (
        _paths(
            "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"
        ),
    ),
    "system:kubelet-api-admin": (
        _rule(_READ, "", "nodes"),
        _rule(("proxy",), "", "nodes"),
        _rule(_ALL, "", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
    ),
    "system:node": NODE_RULES,
    "system:kube-scheduler": _SCHEDULER_RULES,
}
# Rules, and the role for users that they are aggregated to.
_PARTS: dict[str, Sequence[PolicyRule]] = {
    "admin": _ADMIN_RULES,
    "edit": _EDIT_RULES,
    "view": tuple(_rule(_READ, group, resources) for group, resources in _VIEWED),
}
# Each role for users is a part of the one before it.
_INCLUDED = {"edit": "admin", "view": "edit"}
_BOUND: dict[str, Sequence[str]] = {
    "cluster-admin": (MASTERS,),
    "system:discovery": (AUTHENTICATED,),
    "system:basic-user": (AUTHENTICATED,),
    "system:public-info-viewer": (AUTHENTICATED, UNAUTHENTICATED),
    "system:monitoring": ("system:monitoring",),
    "system:service-account-issuer-discovery": (ACCOUNTS,),
    # To none: the node authorizer decides about nodes. An administrator may add subjects.
    "system:node": (),
}


def roles() -> Iterator[ClusterRole]:
    """New messages of every default ClusterRole."""
    for name, rules in _RULES.items():
        yield _role(name, rules)
    for name, rules in _PARTS.items():
        yield _role(f"system:aggregate-to-{name}", rules, aggregated_to=name)
        aggregated = _role(name, (), aggregated_to=_INCLUDED.get(name, ""))
        aggregated.aggregationRule.clusterRoleSelectors.add(matchLabels={_AGGREGATE + name: "true"})
        yield aggregated


def _role(name: str, rules: Sequence[PolicyRule], *, aggregated_to: str = "") -> ClusterRole:
    made = ClusterRole(rules=rules)
    made.metadata.name = name
    made.metadata.labels.update(LABELS)
    if aggregated_to:
        made.metadata.labels[_AGGREGATE + aggregated_to] = "true"
    made.metadata.annotations[AUTOUPDATE] = "true"
    return made


def bindings() -> Iterator[ClusterRoleBinding]:
    """New messages of every default ClusterRoleBinding, each with the name of its role."""
    for name, groups in _BOUND.items():
        made = ClusterRoleBinding(subjects=[Subject(kind=USER_GROUP, apiGroup=GROUP, name=group) for group in groups])
        made.metadata.name = made.roleRef.name = name
        made.roleRef.kind, made.roleRef.apiGroup = "ClusterRole", GROUP
        made.metadata.labels.update(LABELS)
        made.metadata.annotations[AUTOUPDATE] = "true"
        yield made
