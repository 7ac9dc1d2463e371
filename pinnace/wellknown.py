"""Names that Kubernetes and Pinnace reserve: labels, annotations, taints, finalizers, namespaces. Constants only.

Source: "Well-Known Labels, Annotations and Taints" in Kubernetes' reference.
"""

from __future__ import annotations

# Namespaces.
DEFAULT_NAMESPACE = "default"
SYSTEM_NAMESPACE = "kube-system"
PUBLIC_NAMESPACE = "kube-public"
# One Lease for each node, under the node's name.
NODE_LEASE_NAMESPACE = "kube-node-lease"
SYSTEM_NAMESPACES = (DEFAULT_NAMESPACE, SYSTEM_NAMESPACE, PUBLIC_NAMESPACE, NODE_LEASE_NAMESPACE)

# The Lease in SYSTEM_NAMESPACE whose holder is the leading control plane.
LEADER_LEASE = "pinnace-controlplane"

# Labels.
LABEL_HOSTNAME = "kubernetes.io/hostname"
LABEL_OS = "kubernetes.io/os"
LABEL_ARCH = "kubernetes.io/arch"
LABEL_ZONE = "topology.kubernetes.io/zone"
LABEL_REGION = "topology.kubernetes.io/region"
LABEL_METADATA_NAME = "kubernetes.io/metadata.name"
# Of an EndpointSlice: the Service that it belongs to, and the controller that writes it.
LABEL_SERVICE_NAME, LABEL_SLICE_MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
# Of Endpoints and EndpointSlices of a Service without an address; of Endpoints: their controller, and that none mirrors them.
LABEL_HEADLESS = "service.kubernetes.io/headless"
# Of a Service: another service proxy leads to it.
LABEL_SERVICE_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
# Of a Node: it answers for no addresses of Services.
LABEL_EXCLUDED_FROM_LOAD_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"
LABEL_ENDPOINTS_MANAGED_BY, LABEL_SKIP_MIRROR = "endpoints.kubernetes.io/managed-by", "endpointslice.kubernetes.io/skip-mirror"

# Annotations.
ANNOTATION_VTEP_MAC = "pinnace.dev/vtep-mac"
ANNOTATION_WIREGUARD_KEY = "pinnace.dev/wireguard-key"
# Of a node that may run pods which are no longer its own: since when (RFC 3339) other nodes drop its pods' traffic.
ANNOTATION_FENCED = "pinnace.dev/fenced"

# Of Endpoints and EndpointSlices: when the change happened that they follow; of Endpoints: that addresses are left out.
ANNOTATION_TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
ANNOTATION_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
# Written by `kubectl apply`, and by leader election in objects of the older kinds.
ANNOTATION_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ANNOTATION_LEADER = "control-plane.alpha.kubernetes.io/leader"

# Of a Service of type LoadBalancer: the node that answers for its addresses.
ANNOTATION_ANNOUNCED_BY = "pinnace.dev/announced-by"
# Who may use a load balancer, where spec.loadBalancerSourceRanges is empty.
ANNOTATION_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
ANNOTATION_TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
ANNOTATION_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"

# Of a Node: the directory in which its agent keeps local volumes that were provisioned.
ANNOTATION_LOCAL_PATH = "pinnace.dev/local-path"

# Storage: of claims and volumes that are bound, and that this is the controller's doing.
BIND_COMPLETED, BOUND_BY_CONTROLLER = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
# Of a volume: the provisioner that made it. Of a claim: the one that is to, and the node that its pod is to run on.
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER, BETA_STORAGE_PROVISIONER = (
    "volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner",
)  # fmt: skip
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DEFAULT_CLASS, BETA_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class",
)  # fmt: skip
# Of an IngressClass: it is that of new Ingresses without one. Of an Ingress: the older way to name a class.
DEFAULT_INGRESS_CLASS, INGRESS_CLASS = "ingressclass.kubernetes.io/is-default-class", "kubernetes.io/ingress.class"
# The older way in which claims and volumes name their class.
BETA_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
# The provisioner of classes whose volumes an administrator makes, and that of local directories.
NO_PROVISIONER, LOCAL_PATH_PROVISIONER = "kubernetes.io/no-provisioner", "pinnace.dev/local-path"

# Taints.
TAINT_NOT_READY = "node.kubernetes.io/not-ready"
TAINT_UNREACHABLE = "node.kubernetes.io/unreachable"
# The taint of a node by the status of its condition Ready.
TAINT_BY_READINESS = {"False": TAINT_NOT_READY, "Unknown": TAINT_UNREACHABLE}
TAINT_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
TAINT_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
# The taint that keeps new pods away while a node has a condition (Kubernetes' TaintNodesByCondition).
TAINT_BY_CONDITION = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
}

# Finalizers.
FINALIZER_FOREGROUND = "foregroundDeletion"
FINALIZER_ORPHAN = "orphan"
# In a namespace's spec, until its content is deleted.
FINALIZER_KUBERNETES = "kubernetes"
# Of a CustomResourceDefinition, until its objects are deleted.
FINALIZER_CUSTOM_RESOURCES = "customresourcecleanup.apiextensions.k8s.io"

# Of claims that pods use and of volumes that are bound; and of volumes whose data their provisioner is to delete.
FINALIZER_CLAIM_PROTECTION, FINALIZER_VOLUME_PROTECTION = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
# Of a Service of type LoadBalancer that has an address.
FINALIZER_LOAD_BALANCER = "service.kubernetes.io/load-balancer-cleanup"
FINALIZER_PROVISIONER = "external-provisioner.volume.kubernetes.io/finalizer"

# Of the pods of a Job: its uid and name, also under the names that they had first; and the index of a pod.
JOB_CONTROLLER_UID, LEGACY_JOB_CONTROLLER_UID = "batch.kubernetes.io/controller-uid", "controller-uid"
JOB_NAME, LEGACY_JOB_NAME = "batch.kubernetes.io/job-name", "job-name"
JOB_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
