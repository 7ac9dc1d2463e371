"""List types and merge keys against Kubernetes', type by type.

Source: the `listType`, `listMapKey`, `mapType` and `structType` markers and the `patchStrategy` and `patchMergeKey` tags of
k8s.io/api core/v1, discovery/v1, networking/v1, node/v1 and coordination/v1, of apimachinery's meta/v1 and of
apiextensions/v1, version 1.37.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor

from pinnace import kinds, schema, schematree
from pinnace.schematree import LIST, STRUCT, Node

# Field, its type for server-side apply, patch strategy, patch merge key; types that Pinnace does not have yet are listed too.
FIELDS = """
ComponentStatus.conditions map:type merge type
Container.env map:name merge name
Container.ports map:containerPort,protocol merge containerPort
Container.volumeDevices map:devicePath merge devicePath
Container.volumeMounts map:mountPath merge mountPath
ContainerRestartRuleOnExitCodes.values set - -
ContainerStatus.allocatedResourcesStatus map:name merge name
ContainerStatus.volumeMounts map:mountPath merge mountPath
CustomResourceDefinitionStatus.conditions map:type - -
DaemonSetStatus.conditions map:type merge type
DeploymentStatus.conditions map:type merge type
Endpoint.addresses set - -
EphemeralContainerCommon.env map:name merge name
EphemeralContainerCommon.ports map:containerPort,protocol merge containerPort
EphemeralContainerCommon.volumeDevices map:devicePath merge devicePath
EphemeralContainerCommon.volumeMounts map:mountPath merge mountPath
HorizontalPodAutoscalerStatus.conditions map:type merge type
JobStatus.conditions atomic merge type
NamespaceStatus.conditions map:type merge type
NodeAllocatableResourceClaimStatus.containers set - -
NodeAllocatableResourceClaimStatus.mapping map:name merge name
NodeAllocatableResourceClaimStatus.overhead map:name merge name
NodePodPreemptionPolicy.disableResizePreemption set - -
NodeSpec.podCIDRs set merge -
NodeStatus.addresses map:type merge type
NodeStatus.conditions map:type merge type
ObjectMeta.finalizers set merge -
ObjectMeta.ownerReferences map:uid merge uid
PersistentVolumeClaimStatus.conditions map:type merge type
PodFailurePolicyOnExitCodesRequirement.values set - -
PodDisruptionBudgetStatus.conditions map:type merge type
PodSpec.containers map:name merge name
PodSpec.ephemeralContainers map:name merge name
PodSpec.evictionResponders map:name merge name
PodSpec.hostAliases map:ip merge ip
PodSpec.imagePullSecrets map:name merge name
PodSpec.initContainers map:name merge name
PodSpec.nodeSelector atomic - -
PodSpec.resourceClaims map:name merge,retainKeys name
PodSpec.schedulingGates map:name merge name
PodSpec.topologySpreadConstraints map:topologyKey,whenUnsatisfiable merge topologyKey
PodSpec.volumes map:name merge,retainKeys name
PodStatus.conditions map:type merge type
PodStatus.hostIPs atomic merge ip
PodStatus.nodeAllocatableResourceClaimStatuses map:resourceClaimName merge resourceClaimName
PodStatus.podIPs map:ip merge ip
PodStatus.resourceClaimStatuses map:name merge,retainKeys name
PodStatus.volumeHealth map:name - -
PodVolumeHealth.healthConditions map:status,reason merge status
ReplicationControllerSpec.selector atomic - -
ReplicationControllerStatus.conditions map:type merge type
ReplicaSetStatus.conditions map:type merge type
ResourceRequirements.claims map:name - -
ResourceStatus.resources map:resourceID - -
Scheduling.nodeSelector atomic - -
ServiceAccount.secrets map:name merge name
ServiceSpec.ports map:port,protocol merge port
ServiceSpec.selector atomic - -
ServiceStatus.conditions map:type merge type
StatefulSetStatus.conditions map:type merge type
UncountedTerminatedPods.failed set - -
UncountedTerminatedPods.succeeded set - -
VolumeHealthStatus.healthConditions map:status,reason merge status
VolumeMount.bindMountOptions set - -
"""
ATOMIC_TYPES = """
ConfigMapKeySelector
EndpointAddress
EndpointPort
EvictionResponder
FileKeySelector
LabelSelector
LocalObjectReference
NodeSelector
NodeSelectorTerm
ObjectFieldSelector
ObjectReference
OwnerReference
ResourceFieldSelector
RoleRef
ScopeSelector
SecretKeySelector
SecretReference
ServiceBackendPort
TopologySelectorTerm
TypedLocalObjectReference
"""
TABLE = {row.split()[0]: row.split()[1:] for row in FIELDS.strip().splitlines()}


def descriptors() -> list[Descriptor]:
    """Every message of the kinds of the API."""
    found: dict[str, Descriptor] = {}
    waiting = [kind.cls.DESCRIPTOR for kind in (*kinds.ALL, *kinds.FORMS)]
    while waiting:
        item = waiting.pop()
        if item.full_name not in found:
            found[item.full_name] = item
            waiting += [field.message_type for field in item.fields if field.message_type]
    return [item for item in found.values() if not item.GetOptions().map_entry]


def described(node: Node) -> list[str]:
    """A field as the table has it."""
    kind = f"map:{','.join(node.map_keys)}" if node.map_keys else "set" if node.set else "atomic"
    return [kind, ",".join(node.strategy) or "-", node.merge_key or "-"]


def test_lists_and_maps_merge_by_the_rules_of_kubernetes() -> None:
    """A list that Kubernetes says nothing of is atomic and replaced by a patch; a map or struct is granular."""
    wrong = {}
    for item in descriptors():
        spec = schema.described_by(item)
        for name, _, owner in schema.flatten(spec):
            field, node = f"{owner.name}.{name}", schematree.of(spec.cls).children[name]
            if node.form == LIST:
                found, expected = described(node), TABLE.get(field, ["atomic", "-", "-"])
            else:
                found, expected = [str(node.atomic)], [str(field in TABLE or _atomic_type(node))]
            if found != expected:
                wrong[field] = (found, expected)
    assert wrong == {}


def _atomic_type(node: Node) -> bool:
    return node.form == STRUCT and bool(node.name in ATOMIC_TYPES.split())


def test_references_and_selectors_are_owned_as_a_whole() -> None:
    """`structType=atomic` is of the type, wherever it is used; no other type has it."""
    found = {item.name for item in descriptors() if schema.described_by(item).atomic}
    known = {item.name for item in descriptors()}
    assert found == set(ATOMIC_TYPES.split()) & known
