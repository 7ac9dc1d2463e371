"""The rules of each built-in kind. A kind that is not listed has no rules beyond its field options."""

from __future__ import annotations

from pinnace import kinds
from pinnace.admission import (
    claims,
    config,
    controllerrevisions,
    cronjobs,
    daemonsets,
    deployments,
    events,
    horizontalpodautoscalers,
    jobs,
    leases,
    limitranges,
    namespaces,
    nodes,
    persistentvolumes,
    poddisruptionbudgets,
    pods,
    podtemplates,
    priorityclasses,
    rbac,
    replicasets,
    replicationcontrollers,
    resourcequotas,
    runtimeclasses,
    statefulsets,
    storageclasses,
)  # fmt: skip
from pinnace.admission.kindrules import KindRules
from pinnace.kinds import Kind

RULES: dict[Kind, KindRules] = {
    kinds.CLUSTER_ROLE: rbac.CLUSTER_ROLE_RULES,
    kinds.CLUSTER_ROLE_BINDING: rbac.CLUSTER_ROLE_BINDING_RULES,
    kinds.CONFIG_MAP: config.CONFIG_MAP_RULES,
    kinds.CONTROLLER_REVISION: controllerrevisions.RULES,
    kinds.DAEMON_SET: daemonsets.RULES,
    kinds.CRON_JOB: cronjobs.RULES,
    kinds.DEPLOYMENT: deployments.RULES,
    kinds.EVENT: events.RULES,
    kinds.EVENTS_EVENT: events.STRICT_RULES,
    kinds.HORIZONTAL_POD_AUTOSCALER: horizontalpodautoscalers.RULES,
    kinds.HORIZONTAL_POD_AUTOSCALER_V1: horizontalpodautoscalers.FIRST_RULES,
    kinds.JOB: jobs.RULES,
    kinds.LEASE: leases.RULES,
    kinds.LIMIT_RANGE: limitranges.RULES,
    kinds.NAMESPACE: namespaces.RULES,
    kinds.NODE: nodes.RULES,
    kinds.PERSISTENT_VOLUME: persistentvolumes.RULES,
    kinds.PERSISTENT_VOLUME_CLAIM: claims.RULES,
    kinds.POD: pods.RULES,
    kinds.POD_DISRUPTION_BUDGET: poddisruptionbudgets.RULES,
    kinds.POD_TEMPLATE: podtemplates.RULES,
    kinds.PRIORITY_CLASS: priorityclasses.RULES,
    kinds.REPLICA_SET: replicasets.RULES,
    kinds.REPLICATION_CONTROLLER: replicationcontrollers.RULES,
    kinds.RESOURCE_QUOTA: resourcequotas.RULES,
    kinds.ROLE: rbac.ROLE_RULES,
    kinds.ROLE_BINDING: rbac.ROLE_BINDING_RULES,
    kinds.RUNTIME_CLASS: runtimeclasses.RULES,
    kinds.STATEFUL_SET: statefulsets.RULES,
    kinds.STORAGE_CLASS: storageclasses.RULES,
    kinds.SECRET: config.SECRET_RULES,
}
# Of writes through a subresource, where they differ.
SUBRESOURCE_RULES: dict[tuple[Kind, str], KindRules] = {
    (kinds.POD, "ephemeralcontainers"): pods.EPHEMERAL_CONTAINERS_RULES, (kinds.POD, "resize"): pods.RESIZE_RULES,
}  # fmt: skip
