"""Fields that JSON shows even when they are zero: clients with generated types refuse an object without them.

Source: fields of Kubernetes' Go types without omitempty, which its OpenAPI documents list as required. Those that validation
refuses when they are empty need no place here.
"""

from __future__ import annotations

from pinnace.schema import Schema

_CONDITION = ("type", "status")
_SHOWN: dict[str, tuple[str, ...]] = {
    "pinnace.apiextensions.v1.CustomResourceDefinitionCondition": _CONDITION,
    "pinnace.apiextensions.v1.CustomResourceDefinitionVersion": ("served", "storage"),
    "pinnace.apps.v1.DaemonSetStatus": (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
    ),
    "pinnace.apps.v1.ControllerRevision": ("revision",),
    "pinnace.apps.v1.ReplicaSetStatus": ("replicas",),
    "pinnace.apps.v1.StatefulSetSpec": ("serviceName",),
    "pinnace.apps.v1.StatefulSetStatus": ("replicas", "availableReplicas"),
    "pinnace.authentication.v1.TokenReviewSpec": ("token",),
    "pinnace.authorization.v1.NonResourceRule": ("verbs",),
    "pinnace.authorization.v1.ResourceRule": ("verbs",),
    "pinnace.authorization.v1.SubjectAccessReviewStatus": ("allowed",),
    "pinnace.authorization.v1.SubjectRulesReviewStatus": ("resourceRules", "nonResourceRules", "incomplete"),
    "pinnace.autoscaling.v1.HorizontalPodAutoscalerStatus": ("currentReplicas", "desiredReplicas"),
    "pinnace.autoscaling.v1.ScaleStatus": ("replicas",),
    "pinnace.autoscaling.v2.HorizontalPodAutoscalerCondition": _CONDITION,
    "pinnace.autoscaling.v2.HorizontalPodAutoscalerStatus": ("desiredReplicas",),
    "pinnace.autoscaling.v2.MetricStatus": ("type",),
    "pinnace.batch.v1.JobCondition": _CONDITION,
    "pinnace.batch.v1.PodFailurePolicy": ("rules",),
    "pinnace.core.v1.AttachedVolume": ("name", "devicePath"),
    "pinnace.core.v1.ConfigMapNodeConfigSource": ("namespace", "name", "kubeletConfigKey"),
    "pinnace.core.v1.ContainerExtendedResourceRequest": ("containerName", "resourceName", "requestName"),
    "pinnace.core.v1.ContainerStateTerminated": ("exitCode",),
    "pinnace.core.v1.ContainerStatus": ("name", "ready", "restartCount", "image", "imageID"),
    "pinnace.core.v1.DaemonEndpoint": ("Port",),
    "pinnace.core.v1.HostIP": ("ip",),
    "pinnace.core.v1.HTTPHeader": ("name", "value"),
    "pinnace.core.v1.ImageVolumeStatus": ("imageRef",),
    "pinnace.core.v1.LinuxContainerUser": ("uid", "gid"),
    "pinnace.core.v1.ModifyVolumeStatus": ("status",),
    "pinnace.core.v1.NamespaceCondition": _CONDITION,
    "pinnace.core.v1.NodeAddress": ("type", "address"),
    "pinnace.core.v1.NodeAllocatableMappedResources": ("name",),
    "pinnace.core.v1.NodeAllocatableOverheadResources": ("name",),
    "pinnace.core.v1.NodeAllocatableResourceClaimStatus": ("resourceClaimName",),
    "pinnace.core.v1.NodeCondition": _CONDITION,
    "pinnace.core.v1.NodeSystemInfo": (
        "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
        "kubeProxyVersion", "operatingSystem", "architecture",
    ),
    "pinnace.core.v1.PersistentVolumeClaimCondition": _CONDITION,
    "pinnace.core.v1.PodCondition": _CONDITION,
    "pinnace.core.v1.PodExtendedResourceClaimStatus": ("requestMappings", "resourceClaimName"),
    "pinnace.core.v1.PodIP": ("ip",),
    "pinnace.core.v1.PodResourceClaimStatus": ("name",),
    "pinnace.core.v1.PodVolumeHealth": ("name",),
    "pinnace.core.v1.PortStatus": ("port", "protocol"),
    "pinnace.core.v1.ResourceHealth": ("resourceID",),
    "pinnace.core.v1.ResourceStatus": ("name",),
    "pinnace.core.v1.SleepAction": ("seconds",),
    "pinnace.core.v1.Sysctl": ("name", "value"),
    "pinnace.core.v1.VolumeHealthCondition": ("status", "reason"),
    "pinnace.core.v1.VolumeMountStatus": ("name", "mountPath"),
    "pinnace.core.v1.ReplicationControllerCondition": _CONDITION,
    "pinnace.core.v1.ReplicationControllerStatus": ("replicas",),
    "pinnace.meta.v1.Condition": (*_CONDITION, "reason", "message"),
    "pinnace.networking.v1.IngressPortStatus": ("port", "protocol"),
    "pinnace.policy.v1.PodDisruptionBudgetStatus": (
        "disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods",
    ),
    "pinnace.events.v1.EventSeries": ("count",),
}  # fmt: skip


def of(spec: Schema) -> tuple[str, ...]:
    """Names of the message's fields; all are scalars or atomic lists."""
    return _SHOWN.get(spec.full_name, ())
