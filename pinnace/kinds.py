"""The identity of each built-in kind: its names in manifests and on command lines, its scope and its message.

Every role imports it, so it says nothing of behaviour: what the server does with a kind is in `controlplane.resources`.
"""

from __future__ import annotations

from pinnace import autoscalerforms
from pinnace.apiextensions.v1 import customresourcedefinition_pb2
from pinnace.apps.v1 import controllerrevision_pb2, daemonset_pb2, deployment_pb2, replicaset_pb2, statefulset_pb2
from pinnace.authentication.v1 import authentication_pb2
from pinnace.authorization.v1 import authorization_pb2
from pinnace.autoscaling.v1 import horizontalpodautoscaler_pb2 as horizontalpodautoscaler_v1_pb2
from pinnace.autoscaling.v1 import scale_pb2
from pinnace.autoscaling.v2 import horizontalpodautoscaler_pb2
from pinnace.batch.v1 import cronjob_pb2, job_pb2
from pinnace.coordination.v1 import lease_pb2
from pinnace.core.v1 import (
    binding_pb2,
    config_pb2,
    endpoints_pb2,
    event_pb2,
    limitrange_pb2,
    namespace_pb2,
    node_pb2,
    persistentvolume_pb2,
    persistentvolumeclaim_pb2,
    pod_pb2,
    podtemplate_pb2,
    replicationcontroller_pb2,
    resourcequota_pb2,
    service_pb2,
    serviceaccount_pb2,
)  # fmt: skip
from pinnace.discovery.v1 import endpointslice_pb2
from pinnace.events.v1 import event_pb2 as events_event_pb2
from pinnace.kind import MAX_CUSTOM_VALUES as MAX_CUSTOM_VALUES
from pinnace.kind import MAX_VALUES as MAX_VALUES
from pinnace.kind import Kind as Kind
from pinnace.kind import Kinds as Kinds
from pinnace.kind import KindSchema as KindSchema
from pinnace.kind import Reader as Reader
from pinnace.metrics.v1beta1 import metrics_pb2
from pinnace.networking.v1 import ingress_pb2, ingressclass_pb2, networkpolicy_pb2
from pinnace.node.v1 import runtimeclass_pb2
from pinnace.policy.v1 import policy_pb2
from pinnace.rbac.v1 import rbac_pb2
from pinnace.scheduling.v1 import priorityclass_pb2
from pinnace.storage.v1 import storageclass_pb2
from pinnace.storedforms import ConvertedForm, RenamedForm

POD = Kind("v1", "Pod", "pods", pod_pb2.Pod, ("po",))
NODE = Kind("v1", "Node", "nodes", node_pb2.Node, ("no",), namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespace_pb2.Namespace, ("ns",), namespaced=False)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", config_pb2.ConfigMap, ("cm",))
SECRET = Kind("v1", "Secret", "secrets", config_pb2.Secret)
EVENT = Kind("v1", "Event", "events", event_pb2.Event, ("ev",))
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases", lease_pb2.Lease)
RUNTIME_CLASS = Kind("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", runtimeclass_pb2.RuntimeClass, namespaced=False)
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions",
    customresourcedefinition_pb2.CustomResourceDefinition, ("crd", "crds"), namespaced=False, most_values=MAX_CUSTOM_VALUES,
)  # fmt: skip
LIMIT_RANGE = Kind("v1", "LimitRange", "limitranges", limitrange_pb2.LimitRange, ("limits",))
POD_TEMPLATE = Kind("v1", "PodTemplate", "podtemplates", podtemplate_pb2.PodTemplate)
PRIORITY_CLASS = Kind(
    "scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", priorityclass_pb2.PriorityClass, ("pc",), namespaced=False
)
PERSISTENT_VOLUME = Kind(
    "v1", "PersistentVolume", "persistentvolumes", persistentvolume_pb2.PersistentVolume, ("pv",), namespaced=False
)  # fmt: skip
PERSISTENT_VOLUME_CLAIM = Kind(
    "v1", "PersistentVolumeClaim", "persistentvolumeclaims", persistentvolumeclaim_pb2.PersistentVolumeClaim, ("pvc",)
)  # fmt: skip
STORAGE_CLASS = Kind(
    "storage.k8s.io/v1", "StorageClass", "storageclasses", storageclass_pb2.StorageClass, ("sc",), namespaced=False
)  # fmt: skip
RESOURCE_QUOTA = Kind("v1", "ResourceQuota", "resourcequotas", resourcequota_pb2.ResourceQuota, ("quota",))
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles", rbac_pb2.Role)
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", rbac_pb2.RoleBinding)
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", rbac_pb2.ClusterRole, namespaced=False)
CLUSTER_ROLE_BINDING = Kind(
    "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", rbac_pb2.ClusterRoleBinding, namespaced=False
)
CONTROLLER_REVISION = Kind(
    "apps/v1", "ControllerRevision", "controllerrevisions", controllerrevision_pb2.ControllerRevision
)  # fmt: skip
DAEMON_SET = Kind("apps/v1", "DaemonSet", "daemonsets", daemonset_pb2.DaemonSet, ("ds",))
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", deployment_pb2.Deployment, ("deploy",))
HORIZONTAL_POD_AUTOSCALER = Kind(
    "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
    horizontalpodautoscaler_pb2.HorizontalPodAutoscaler, ("hpa",),
)  # fmt: skip
INGRESS = Kind("networking.k8s.io/v1", "Ingress", "ingresses", ingress_pb2.Ingress, ("ing",))
INGRESS_CLASS = Kind(
    "networking.k8s.io/v1", "IngressClass", "ingressclasses", ingressclass_pb2.IngressClass, namespaced=False
)  # fmt: skip
NETWORK_POLICY = Kind(
    "networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", networkpolicy_pb2.NetworkPolicy, ("netpol",)
)  # fmt: skip
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets", replicaset_pb2.ReplicaSet, ("rs",))
POD_DISRUPTION_BUDGET = Kind(
    "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", policy_pb2.PodDisruptionBudget, ("pdb",)
)  # fmt: skip
REPLICATION_CONTROLLER = Kind(
    "v1", "ReplicationController", "replicationcontrollers", replicationcontroller_pb2.ReplicationController, ("rc",)
)  # fmt: skip
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets", statefulset_pb2.StatefulSet, ("sts",))
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs", cronjob_pb2.CronJob, ("cj",))
JOB = Kind("batch/v1", "Job", "jobs", job_pb2.Job)
SERVICE = Kind("v1", "Service", "services", service_pb2.Service, ("svc",))
ENDPOINTS = Kind("v1", "Endpoints", "endpoints", endpoints_pb2.Endpoints, ("ep",))
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", endpointslice_pb2.EndpointSlice)
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts", serviceaccount_pb2.ServiceAccount, ("sa",))

# Stored as another kind: an event has two groups.
EVENTS_EVENT = Kind(
    "events.k8s.io/v1", "Event", "events", events_event_pb2.Event, ("ev",),
    stored=RenamedForm(
        EVENT,
        {
            "regarding": "involvedObject", "note": "message", "reportingController": "reportingComponent",
            "deprecatedSource": "source", "deprecatedFirstTimestamp": "firstTimestamp",
            "deprecatedLastTimestamp": "lastTimestamp", "deprecatedCount": "count",
        },
    ),
)  # fmt: skip

# Stored as the newer version.
HORIZONTAL_POD_AUTOSCALER_V1 = Kind(
    "autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
    horizontalpodautoscaler_v1_pb2.HorizontalPodAutoscaler, ("hpa",),
    stored=ConvertedForm(HORIZONTAL_POD_AUTOSCALER, to_own=autoscalerforms.to_first, to_stored=autoscalerforms.to_second),
)  # fmt: skip

# Not stored: the form of a subresource.
SCALE = Kind("autoscaling/v1", "Scale", "scales", scale_pb2.Scale)

# Stored and not served: an address or a node port of a Service, by which it is named; its holder is NAMESPACE/NAME.
SERVICE_CLAIM = Kind("internal.pinnace.dev/v1", "ServiceClaim", "serviceclaims", lease_pb2.Lease, namespaced=False)

# The built-in kinds. Code that serves or stores objects takes its `Kinds` as an argument instead.
ALL: tuple[Kind, ...] = (
    CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CONFIG_MAP, CONTROLLER_REVISION, CRON_JOB, CUSTOM_RESOURCE_DEFINITION, DAEMON_SET,
    DEPLOYMENT, ENDPOINTS, ENDPOINT_SLICE, EVENT, HORIZONTAL_POD_AUTOSCALER, INGRESS, INGRESS_CLASS, JOB, LEASE, LIMIT_RANGE,
    NAMESPACE, NETWORK_POLICY, NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, POD_DISRUPTION_BUDGET, POD_TEMPLATE,
    PRIORITY_CLASS, REPLICATION_CONTROLLER, REPLICA_SET, RESOURCE_QUOTA, ROLE, ROLE_BINDING, RUNTIME_CLASS, SECRET, SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET, STORAGE_CLASS,
)  # fmt: skip
# Those that are stored as one of them.
FORMS: tuple[Kind, ...] = (EVENTS_EVENT, HORIZONTAL_POD_AUTOSCALER_V1)
_BUILT_IN = Kinds((*ALL, *FORMS))

# Questions, which are answered and not stored.
TOKEN_REVIEW = Kind("authentication.k8s.io/v1", "TokenReview", "tokenreviews", authentication_pb2.TokenReview, namespaced=False)
TOKEN_REQUEST = Kind("authentication.k8s.io/v1", "TokenRequest", "serviceaccounts/token", authentication_pb2.TokenRequest)
SELF_SUBJECT_REVIEW = Kind(
    "authentication.k8s.io/v1",
    "SelfSubjectReview",
    "selfsubjectreviews",
    authentication_pb2.SelfSubjectReview,
    namespaced=False,
)
# Which kubectl 1.27 asks; the same message.
SELF_SUBJECT_REVIEW_BETA = Kind(
    "authentication.k8s.io/v1beta1", "SelfSubjectReview", "selfsubjectreviews", authentication_pb2.SelfSubjectReview,
    namespaced=False,
)  # fmt: skip
SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", authorization_pb2.SubjectAccessReview,
    namespaced=False,
)  # fmt: skip
LOCAL_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io/v1", "LocalSubjectAccessReview", "localsubjectaccessreviews",
    authorization_pb2.LocalSubjectAccessReview,
)  # fmt: skip
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews",
    authorization_pb2.SelfSubjectAccessReview, namespaced=False,
)  # fmt: skip
SELF_SUBJECT_RULES_REVIEW = Kind(
    "authorization.k8s.io/v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews",
    authorization_pb2.SelfSubjectRulesReview, namespaced=False,
)  # fmt: skip
# Measured when they are asked for, and not stored.
NODE_METRICS = Kind("metrics.k8s.io/v1beta1", "NodeMetrics", "nodes", metrics_pb2.NodeMetrics, namespaced=False)
POD_METRICS = Kind("metrics.k8s.io/v1beta1", "PodMetrics", "pods", metrics_pb2.PodMetrics)
# Created below a pod, and not stored.
BINDING = Kind("v1", "Binding", "pods/binding", binding_pb2.Binding)
EVICTION = Kind("policy/v1", "Eviction", "pods/eviction", policy_pb2.Eviction)

REVIEWS: tuple[Kind, ...] = (
    TOKEN_REVIEW, TOKEN_REQUEST, SELF_SUBJECT_REVIEW, SELF_SUBJECT_REVIEW_BETA, SUBJECT_ACCESS_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_RULES_REVIEW,
)  # fmt: skip


def built_in() -> Kinds:
    """The built-in kinds, which nothing is added to."""
    return _BUILT_IN


def find(api_version: str, kind: str) -> Kind:
    """A built-in kind. Raises NotFound."""
    return _BUILT_IN.find(api_version, kind)


def by_word(word: str) -> Kind:
    """A built-in kind by what a user calls it. Raises NotFound."""
    return _BUILT_IN.by_word(word)
