"""The resources of the API: one file for each kind, and the registry that a control plane serves.

Only this module lists the built-in kinds. Generic code takes a `Registry` and names no kind.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, assert_type

from controlplane.resources.configmap import CONFIG_MAP
from controlplane.resources.controllerrevision import CONTROLLER_REVISION
from controlplane.resources.cronjob import CRON_JOB
from controlplane.resources.customresourcedefinition import CUSTOM_RESOURCE_DEFINITION, Terminating
from controlplane.resources.daemonset import DAEMON_SET
from controlplane.resources.deployment import DEPLOYMENT
from controlplane.resources.endpoints import ENDPOINTS
from controlplane.resources.endpointslice import ENDPOINT_SLICE
from controlplane.resources.event import EVENT, EVENTS_EVENT
from controlplane.resources.horizontalpodautoscaler import HORIZONTAL_POD_AUTOSCALER, HORIZONTAL_POD_AUTOSCALER_V1
from controlplane.resources.ingress import INGRESS
from controlplane.resources.ingressclass import INGRESS_CLASS, DefaultIngressClass
from controlplane.resources.job import JOB
from controlplane.resources.lease import LEASE
from controlplane.resources.limitrange import LIMIT_RANGE, LimitRanger
from controlplane.resources.namespace import NAMESPACE, NamespaceLifecycle
from controlplane.resources.networkpolicy import NETWORK_POLICY
from controlplane.resources.node import NODE, NodePodCIDRs
from controlplane.resources.persistentvolume import PERSISTENT_VOLUME
from controlplane.resources.persistentvolumeclaim import (
    PERSISTENT_VOLUME_CLAIM,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from controlplane.resources.plugin import Plugin
from controlplane.resources.pod import POD
from controlplane.resources.poddisruptionbudget import POD_DISRUPTION_BUDGET
from controlplane.resources.podtemplate import POD_TEMPLATE
from controlplane.resources.priorityclass import PRIORITY_CLASS, Priority
from controlplane.resources.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from controlplane.resources.registry import Registry
from controlplane.resources.replicaset import REPLICA_SET
from controlplane.resources.replicationcontroller import REPLICATION_CONTROLLER
from controlplane.resources.resource import Resource, Strategy, Subresource
from controlplane.resources.resourcemetrics import MEASURED
from controlplane.resources.resourcequota import RESOURCE_QUOTA, ResourceQuotaPlugin
from controlplane.resources.reviews import REVIEWS
from controlplane.resources.runtimeclass import RUNTIME_CLASS, RuntimeClassPlugin
from controlplane.resources.secret import SECRET
from controlplane.resources.service import SERVICE
from controlplane.resources.serviceaccount import SERVICE_ACCOUNT, ServiceAccountPlugin
from controlplane.resources.serviceallocator import ServiceAllocator
from controlplane.resources.serviceexternalips import DenyServiceExternalIPs
from controlplane.resources.statefulset import STATEFUL_SET
from controlplane.resources.storageclass import STORAGE_CLASS, DefaultStorageClass
from controlplane.serviceranges import ServiceRanges
from controlplane.store import Tx
from pinnace import kinds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.scheduling.v1.priorityclass_pb2 import PriorityClass

# Admission plugins that are off unless `--enable-admission-plugins` names them.
OPTIONAL: Mapping[str, Callable[[], Plugin]] = {DenyServiceExternalIPs.name: DenyServiceExternalIPs}
__all__ = ["OPTIONAL", "Registry", "Resource", "Strategy", "Subresource", "built_in"]


def built_in(ranges: ServiceRanges | None = None, enabled: Collection[str] = ()) -> Registry:
    """A new registry with every built-in kind. Admission plugins run in Kubernetes' order. `ranges`: of Services; `enabled`:
    names of plugins of OPTIONAL that run too."""
    resources: tuple[Resource, ...] = (
        CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CONFIG_MAP, CONTROLLER_REVISION, CRON_JOB, CUSTOM_RESOURCE_DEFINITION, DAEMON_SET,
        DEPLOYMENT, ENDPOINTS, ENDPOINT_SLICE, EVENT, EVENTS_EVENT, HORIZONTAL_POD_AUTOSCALER, HORIZONTAL_POD_AUTOSCALER_V1,
        INGRESS, INGRESS_CLASS, JOB, LEASE, LIMIT_RANGE, NAMESPACE, NETWORK_POLICY, NODE, PERSISTENT_VOLUME,
        PERSISTENT_VOLUME_CLAIM, POD, POD_DISRUPTION_BUDGET, POD_TEMPLATE, PRIORITY_CLASS, REPLICATION_CONTROLLER, REPLICA_SET,
        RESOURCE_QUOTA, ROLE, ROLE_BINDING, RUNTIME_CLASS, SECRET, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET, STORAGE_CLASS,
        Resource(kinds.SERVICE_CLAIM, served=False),
    )  # fmt: skip
    plugins: tuple[Plugin, ...] = (
        NamespaceLifecycle(), LimitRanger(), ServiceAccountPlugin(), Priority(), StorageObjectInUseProtection(),
        DefaultStorageClass(), PersistentVolumeClaimResize(), RuntimeClassPlugin(), DefaultIngressClass(), Terminating(),
        NodePodCIDRs(), ServiceAllocator(ranges or ServiceRanges()),
        *(make() for name, make in OPTIONAL.items() if name in enabled), ResourceQuotaPlugin(),
    )  # fmt: skip
    return Registry(resources, plugins, (*REVIEWS, *(item.resource for item in MEASURED)))


if TYPE_CHECKING:

    def _reads_are_typed(tx: Tx) -> None:
        """For mypy alone: what a transaction reads has the type of its kind."""
        assert_type(tx.get(kinds.POD, "default", "web"), Pod | None)
        assert_type(tx.list(kinds.PRIORITY_CLASS), list[PriorityClass])
        assert_type(Registry.of(tx).resource(kinds.POD), Resource[Pod])
