from pinnace.api.v1 import objects_pb2 as _objects_pb2
from pinnace.api.v1 import streams_pb2 as _streams_pb2
from pinnace.authentication.v1 import authentication_pb2 as _authentication_pb2
from pinnace.core.v1 import event_pb2 as _event_pb2
from pinnace.core.v1 import node_pb2 as _node_pb2
from pinnace.core.v1 import pod_pb2 as _pod_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("node", "vtepMac", "localPath", "wireguardKey", "staticNamespaces")
    NODE_FIELD_NUMBER: _ClassVar[int]
    VTEPMAC_FIELD_NUMBER: _ClassVar[int]
    LOCALPATH_FIELD_NUMBER: _ClassVar[int]
    WIREGUARDKEY_FIELD_NUMBER: _ClassVar[int]
    STATICNAMESPACES_FIELD_NUMBER: _ClassVar[int]
    node: _node_pb2.Node
    vtepMac: str
    localPath: str
    wireguardKey: str
    staticNamespaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[_Union[_node_pb2.Node, _Mapping]] = ..., vtepMac: _Optional[str] = ..., localPath: _Optional[str] = ..., wireguardKey: _Optional[str] = ..., staticNamespaces: _Optional[_Iterable[str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("applied", "staticNamespaces")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    STATICNAMESPACES_FIELD_NUMBER: _ClassVar[int]
    applied: int
    staticNamespaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, applied: _Optional[int] = ..., staticNamespaces: _Optional[_Iterable[str]] = ...) -> None: ...

class NodeMessage(_message.Message):
    __slots__ = ("hello", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("podCIDR", "clusterCIDRs", "heartbeatMillis", "vni", "vxlanPort", "apiHost", "apiPort", "podCIDRs", "serviceCIDRs", "clusterDNS", "clusterDomain", "nodePortRange", "encrypt", "zone")
    PODCIDR_FIELD_NUMBER: _ClassVar[int]
    CLUSTERCIDRS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEATMILLIS_FIELD_NUMBER: _ClassVar[int]
    VNI_FIELD_NUMBER: _ClassVar[int]
    VXLANPORT_FIELD_NUMBER: _ClassVar[int]
    APIHOST_FIELD_NUMBER: _ClassVar[int]
    APIPORT_FIELD_NUMBER: _ClassVar[int]
    PODCIDRS_FIELD_NUMBER: _ClassVar[int]
    SERVICECIDRS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERDNS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERDOMAIN_FIELD_NUMBER: _ClassVar[int]
    NODEPORTRANGE_FIELD_NUMBER: _ClassVar[int]
    ENCRYPT_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    podCIDR: str
    clusterCIDRs: _containers.RepeatedScalarFieldContainer[str]
    heartbeatMillis: int
    vni: int
    vxlanPort: int
    apiHost: str
    apiPort: int
    podCIDRs: _containers.RepeatedScalarFieldContainer[str]
    serviceCIDRs: _containers.RepeatedScalarFieldContainer[str]
    clusterDNS: _containers.RepeatedScalarFieldContainer[str]
    clusterDomain: str
    nodePortRange: str
    encrypt: bool
    zone: str
    def __init__(self, podCIDR: _Optional[str] = ..., clusterCIDRs: _Optional[_Iterable[str]] = ..., heartbeatMillis: _Optional[int] = ..., vni: _Optional[int] = ..., vxlanPort: _Optional[int] = ..., apiHost: _Optional[str] = ..., apiPort: _Optional[int] = ..., podCIDRs: _Optional[_Iterable[str]] = ..., serviceCIDRs: _Optional[_Iterable[str]] = ..., clusterDNS: _Optional[_Iterable[str]] = ..., clusterDomain: _Optional[str] = ..., nodePortRange: _Optional[str] = ..., encrypt: _Optional[bool] = ..., zone: _Optional[str] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("node", "podCIDR", "address", "vtepMac", "podCIDRs", "wireguardKey", "addresses")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PODCIDR_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VTEPMAC_FIELD_NUMBER: _ClassVar[int]
    PODCIDRS_FIELD_NUMBER: _ClassVar[int]
    WIREGUARDKEY_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    node: str
    podCIDR: str
    address: str
    vtepMac: str
    podCIDRs: _containers.RepeatedScalarFieldContainer[str]
    wireguardKey: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., podCIDR: _Optional[str] = ..., address: _Optional[str] = ..., vtepMac: _Optional[str] = ..., podCIDRs: _Optional[_Iterable[str]] = ..., wireguardKey: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class NamedPort(_message.Message):
    __slots__ = ("name", "protocol", "port")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    name: str
    protocol: str
    port: int
    def __init__(self, name: _Optional[str] = ..., protocol: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class PolicyGroupMember(_message.Message):
    __slots__ = ("podIPs", "ports")
    PODIPS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    podIPs: _containers.RepeatedScalarFieldContainer[str]
    ports: _containers.RepeatedCompositeFieldContainer[NamedPort]
    def __init__(self, podIPs: _Optional[_Iterable[str]] = ..., ports: _Optional[_Iterable[_Union[NamedPort, _Mapping]]] = ...) -> None: ...

class PolicyGroup(_message.Message):
    __slots__ = ("members",)
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[PolicyGroupMember]
    def __init__(self, members: _Optional[_Iterable[_Union[PolicyGroupMember, _Mapping]]] = ...) -> None: ...

class PolicyNamespace(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PodToken(_message.Message):
    __slots__ = ("audience", "expirationSeconds", "token")
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRATIONSECONDS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    audience: str
    expirationSeconds: int
    token: str
    def __init__(self, audience: _Optional[str] = ..., expirationSeconds: _Optional[int] = ..., token: _Optional[str] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("key", "object", "peer", "policyGroup", "policyNamespace", "tokens")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    POLICYGROUP_FIELD_NUMBER: _ClassVar[int]
    POLICYNAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    key: str
    object: _objects_pb2.Object
    peer: Peer
    policyGroup: PolicyGroup
    policyNamespace: PolicyNamespace
    tokens: _containers.RepeatedCompositeFieldContainer[PodToken]
    def __init__(self, key: _Optional[str] = ..., object: _Optional[_Union[_objects_pb2.Object, _Mapping]] = ..., peer: _Optional[_Union[Peer, _Mapping]] = ..., policyGroup: _Optional[_Union[PolicyGroup, _Mapping]] = ..., policyNamespace: _Optional[_Union[PolicyNamespace, _Mapping]] = ..., tokens: _Optional[_Iterable[_Union[PodToken, _Mapping]]] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("complete", "appliesTo", "revision", "changes", "following")
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    APPLIESTO_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    FOLLOWING_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    appliesTo: int
    revision: int
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    following: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, complete: _Optional[bool] = ..., appliesTo: _Optional[int] = ..., revision: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., following: _Optional[_Iterable[str]] = ...) -> None: ...

class StreamOffer(_message.Message):
    __slots__ = ("id", "open")
    ID_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    id: str
    open: _streams_pb2.OpenStream
    def __init__(self, id: _Optional[str] = ..., open: _Optional[_Union[_streams_pb2.OpenStream, _Mapping]] = ...) -> None: ...

class ClockAdvanced(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ControlMessage(_message.Message):
    __slots__ = ("welcome", "assignment", "stream", "clock")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assignment: Assignment
    stream: StreamOffer
    clock: ClockAdvanced
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assignment: _Optional[_Union[Assignment, _Mapping]] = ..., stream: _Optional[_Union[StreamOffer, _Mapping]] = ..., clock: _Optional[_Union[ClockAdvanced, _Mapping]] = ...) -> None: ...

class PodReport(_message.Message):
    __slots__ = ("namespace", "name", "uid", "status", "removed")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    status: _pod_pb2.PodStatus
    removed: bool
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., status: _Optional[_Union[_pod_pb2.PodStatus, _Mapping]] = ..., removed: _Optional[bool] = ...) -> None: ...

class VolumeReport(_message.Message):
    __slots__ = ("name", "uid", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    error: str
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class ReportStatusRequest(_message.Message):
    __slots__ = ("pods", "events", "node", "volumes")
    PODS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    pods: _containers.RepeatedCompositeFieldContainer[PodReport]
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    node: _node_pb2.NodeStatus
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeReport]
    def __init__(self, pods: _Optional[_Iterable[_Union[PodReport, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ..., node: _Optional[_Union[_node_pb2.NodeStatus, _Mapping]] = ..., volumes: _Optional[_Iterable[_Union[VolumeReport, _Mapping]]] = ...) -> None: ...

class ReportStatusResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SyncMirrorsRequest(_message.Message):
    __slots__ = ("pods",)
    PODS_FIELD_NUMBER: _ClassVar[int]
    pods: _containers.RepeatedCompositeFieldContainer[_pod_pb2.Pod]
    def __init__(self, pods: _Optional[_Iterable[_Union[_pod_pb2.Pod, _Mapping]]] = ...) -> None: ...

class SyncMirrorsResponse(_message.Message):
    __slots__ = ("refusals",)
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    refusals: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, refusals: _Optional[_Iterable[str]] = ...) -> None: ...

class RenewCertificateRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class RenewCertificateResponse(_message.Message):
    __slots__ = ("certificate", "ca")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CA_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    ca: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., ca: _Optional[bytes] = ...) -> None: ...
