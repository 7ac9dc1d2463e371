from pinnace.core.v1 import pod_pb2 as _pod_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecOptions(_message.Message):
    __slots__ = ("command", "stdin", "tty")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    TTY_FIELD_NUMBER: _ClassVar[int]
    command: _containers.RepeatedScalarFieldContainer[str]
    stdin: bool
    tty: bool
    def __init__(self, command: _Optional[_Iterable[str]] = ..., stdin: _Optional[bool] = ..., tty: _Optional[bool] = ...) -> None: ...

class LogOptions(_message.Message):
    __slots__ = ("follow", "tailLines", "sinceNanos", "previous", "timestamps", "limitBytes", "wait", "stream", "untilExit")
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    TAILLINES_FIELD_NUMBER: _ClassVar[int]
    SINCENANOS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    LIMITBYTES_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    UNTILEXIT_FIELD_NUMBER: _ClassVar[int]
    follow: bool
    tailLines: int
    sinceNanos: int
    previous: bool
    timestamps: bool
    limitBytes: int
    wait: bool
    stream: str
    untilExit: bool
    def __init__(self, follow: _Optional[bool] = ..., tailLines: _Optional[int] = ..., sinceNanos: _Optional[int] = ..., previous: _Optional[bool] = ..., timestamps: _Optional[bool] = ..., limitBytes: _Optional[int] = ..., wait: _Optional[bool] = ..., stream: _Optional[str] = ..., untilExit: _Optional[bool] = ...) -> None: ...

class AttachOptions(_message.Message):
    __slots__ = ("stdin",)
    STDIN_FIELD_NUMBER: _ClassVar[int]
    stdin: bool
    def __init__(self, stdin: _Optional[bool] = ...) -> None: ...

class PortForwardOptions(_message.Message):
    __slots__ = ("port",)
    PORT_FIELD_NUMBER: _ClassVar[int]
    port: int
    def __init__(self, port: _Optional[int] = ...) -> None: ...

class ProxyPodOptions(_message.Message):
    __slots__ = ("port", "tls")
    PORT_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    port: int
    tls: bool
    def __init__(self, port: _Optional[int] = ..., tls: _Optional[bool] = ...) -> None: ...

class ListPodsOptions(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthOptions(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DnsMetricsOptions(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CopyOptions(_message.Message):
    __slots__ = ("path", "unpack")
    PATH_FIELD_NUMBER: _ClassVar[int]
    UNPACK_FIELD_NUMBER: _ClassVar[int]
    path: str
    unpack: bool
    def __init__(self, path: _Optional[str] = ..., unpack: _Optional[bool] = ...) -> None: ...

class VerifyNetworkOptions(_message.Message):
    __slots__ = ("fix", "countersOnly")
    FIX_FIELD_NUMBER: _ClassVar[int]
    COUNTERSONLY_FIELD_NUMBER: _ClassVar[int]
    fix: bool
    countersOnly: bool
    def __init__(self, fix: _Optional[bool] = ..., countersOnly: _Optional[bool] = ...) -> None: ...

class TraceNetworkOptions(_message.Message):
    __slots__ = ("source", "target", "protocol", "port", "sourcePort", "podUid", "waitMillis")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SOURCEPORT_FIELD_NUMBER: _ClassVar[int]
    PODUID_FIELD_NUMBER: _ClassVar[int]
    WAITMILLIS_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    protocol: str
    port: int
    sourcePort: int
    podUid: str
    waitMillis: int
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., protocol: _Optional[str] = ..., port: _Optional[int] = ..., sourcePort: _Optional[int] = ..., podUid: _Optional[str] = ..., waitMillis: _Optional[int] = ...) -> None: ...

class CaptureOptions(_message.Message):
    __slots__ = ("host", "port", "packets", "bytes", "millis", "snapLength")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    MILLIS_FIELD_NUMBER: _ClassVar[int]
    SNAPLENGTH_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    packets: int
    bytes: int
    millis: int
    snapLength: int
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., packets: _Optional[int] = ..., bytes: _Optional[int] = ..., millis: _Optional[int] = ..., snapLength: _Optional[int] = ...) -> None: ...

class StatsOptions(_message.Message):
    __slots__ = ("windowMillis",)
    WINDOWMILLIS_FIELD_NUMBER: _ClassVar[int]
    windowMillis: int
    def __init__(self, windowMillis: _Optional[int] = ...) -> None: ...

class LoadImageOptions(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListImagesOptions(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PullImageOptions(_message.Message):
    __slots__ = ("reference", "dockerConfigJson")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    DOCKERCONFIGJSON_FIELD_NUMBER: _ClassVar[int]
    reference: str
    dockerConfigJson: bytes
    def __init__(self, reference: _Optional[str] = ..., dockerConfigJson: _Optional[bytes] = ...) -> None: ...

class RemoveImageOptions(_message.Message):
    __slots__ = ("reference",)
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    reference: str
    def __init__(self, reference: _Optional[str] = ...) -> None: ...

class PruneImagesOptions(_message.Message):
    __slots__ = ("all",)
    ALL_FIELD_NUMBER: _ClassVar[int]
    all: bool
    def __init__(self, all: _Optional[bool] = ...) -> None: ...

class BuildImageOptions(_message.Message):
    __slots__ = ("dockerfile", "tags", "args", "target", "noCache", "runTimeoutSeconds", "dockerConfigJson", "labels", "pull", "secrets", "memoryBytes", "cpuMillis")
    class ArgsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    DOCKERFILE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    NOCACHE_FIELD_NUMBER: _ClassVar[int]
    RUNTIMEOUTSECONDS_FIELD_NUMBER: _ClassVar[int]
    DOCKERCONFIGJSON_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PULL_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    MEMORYBYTES_FIELD_NUMBER: _ClassVar[int]
    CPUMILLIS_FIELD_NUMBER: _ClassVar[int]
    dockerfile: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    args: _containers.ScalarMap[str, str]
    target: str
    noCache: bool
    runTimeoutSeconds: int
    dockerConfigJson: bytes
    labels: _containers.ScalarMap[str, str]
    pull: bool
    secrets: _containers.ScalarMap[str, bytes]
    memoryBytes: int
    cpuMillis: int
    def __init__(self, dockerfile: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., args: _Optional[_Mapping[str, str]] = ..., target: _Optional[str] = ..., noCache: _Optional[bool] = ..., runTimeoutSeconds: _Optional[int] = ..., dockerConfigJson: _Optional[bytes] = ..., labels: _Optional[_Mapping[str, str]] = ..., pull: _Optional[bool] = ..., secrets: _Optional[_Mapping[str, bytes]] = ..., memoryBytes: _Optional[int] = ..., cpuMillis: _Optional[int] = ...) -> None: ...

class ExportImageOptions(_message.Message):
    __slots__ = ("reference", "diffId")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    DIFFID_FIELD_NUMBER: _ClassVar[int]
    reference: str
    diffId: str
    def __init__(self, reference: _Optional[str] = ..., diffId: _Optional[str] = ...) -> None: ...

class TagImageOptions(_message.Message):
    __slots__ = ("reference", "target")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    reference: str
    target: str
    def __init__(self, reference: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class PushImageOptions(_message.Message):
    __slots__ = ("reference", "targets", "dockerConfigJson")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    DOCKERCONFIGJSON_FIELD_NUMBER: _ClassVar[int]
    reference: str
    targets: _containers.RepeatedScalarFieldContainer[str]
    dockerConfigJson: bytes
    def __init__(self, reference: _Optional[str] = ..., targets: _Optional[_Iterable[str]] = ..., dockerConfigJson: _Optional[bytes] = ...) -> None: ...

class OpenStream(_message.Message):
    __slots__ = ("namespace", "pod", "container", "node", "exec", "logs", "loadImage", "listImages", "pullImage", "removeImage", "pruneImages", "attach", "portForward", "copy", "stats", "buildImage", "exportImage", "tagImage", "pushImage", "proxyPod", "listPods", "health", "verifyNetwork", "traceNetwork", "capture", "dnsMetrics")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    EXEC_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    LOADIMAGE_FIELD_NUMBER: _ClassVar[int]
    LISTIMAGES_FIELD_NUMBER: _ClassVar[int]
    PULLIMAGE_FIELD_NUMBER: _ClassVar[int]
    REMOVEIMAGE_FIELD_NUMBER: _ClassVar[int]
    PRUNEIMAGES_FIELD_NUMBER: _ClassVar[int]
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    PORTFORWARD_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    BUILDIMAGE_FIELD_NUMBER: _ClassVar[int]
    EXPORTIMAGE_FIELD_NUMBER: _ClassVar[int]
    TAGIMAGE_FIELD_NUMBER: _ClassVar[int]
    PUSHIMAGE_FIELD_NUMBER: _ClassVar[int]
    PROXYPOD_FIELD_NUMBER: _ClassVar[int]
    LISTPODS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    VERIFYNETWORK_FIELD_NUMBER: _ClassVar[int]
    TRACENETWORK_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    DNSMETRICS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    container: str
    node: str
    exec: ExecOptions
    logs: LogOptions
    loadImage: LoadImageOptions
    listImages: ListImagesOptions
    pullImage: PullImageOptions
    removeImage: RemoveImageOptions
    pruneImages: PruneImagesOptions
    attach: AttachOptions
    portForward: PortForwardOptions
    copy: CopyOptions
    stats: StatsOptions
    buildImage: BuildImageOptions
    exportImage: ExportImageOptions
    tagImage: TagImageOptions
    pushImage: PushImageOptions
    proxyPod: ProxyPodOptions
    listPods: ListPodsOptions
    health: HealthOptions
    verifyNetwork: VerifyNetworkOptions
    traceNetwork: TraceNetworkOptions
    capture: CaptureOptions
    dnsMetrics: DnsMetricsOptions
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ..., container: _Optional[str] = ..., node: _Optional[str] = ..., exec: _Optional[_Union[ExecOptions, _Mapping]] = ..., logs: _Optional[_Union[LogOptions, _Mapping]] = ..., loadImage: _Optional[_Union[LoadImageOptions, _Mapping]] = ..., listImages: _Optional[_Union[ListImagesOptions, _Mapping]] = ..., pullImage: _Optional[_Union[PullImageOptions, _Mapping]] = ..., removeImage: _Optional[_Union[RemoveImageOptions, _Mapping]] = ..., pruneImages: _Optional[_Union[PruneImagesOptions, _Mapping]] = ..., attach: _Optional[_Union[AttachOptions, _Mapping]] = ..., portForward: _Optional[_Union[PortForwardOptions, _Mapping]] = ..., copy: _Optional[_Union[CopyOptions, _Mapping]] = ..., stats: _Optional[_Union[StatsOptions, _Mapping]] = ..., buildImage: _Optional[_Union[BuildImageOptions, _Mapping]] = ..., exportImage: _Optional[_Union[ExportImageOptions, _Mapping]] = ..., tagImage: _Optional[_Union[TagImageOptions, _Mapping]] = ..., pushImage: _Optional[_Union[PushImageOptions, _Mapping]] = ..., proxyPod: _Optional[_Union[ProxyPodOptions, _Mapping]] = ..., listPods: _Optional[_Union[ListPodsOptions, _Mapping]] = ..., health: _Optional[_Union[HealthOptions, _Mapping]] = ..., verifyNetwork: _Optional[_Union[VerifyNetworkOptions, _Mapping]] = ..., traceNetwork: _Optional[_Union[TraceNetworkOptions, _Mapping]] = ..., capture: _Optional[_Union[CaptureOptions, _Mapping]] = ..., dnsMetrics: _Optional[_Union[DnsMetricsOptions, _Mapping]] = ...) -> None: ...

class TerminalSize(_message.Message):
    __slots__ = ("columns", "rows")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    columns: int
    rows: int
    def __init__(self, columns: _Optional[int] = ..., rows: _Optional[int] = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ("code", "message", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("reference", "id", "sizeBytes", "user", "loaded", "digest")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZEBYTES_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    reference: str
    id: str
    sizeBytes: int
    user: str
    loaded: bool
    digest: str
    def __init__(self, reference: _Optional[str] = ..., id: _Optional[str] = ..., sizeBytes: _Optional[int] = ..., user: _Optional[str] = ..., loaded: _Optional[bool] = ..., digest: _Optional[str] = ...) -> None: ...

class ImageOffer(_message.Message):
    __slots__ = ("references", "config", "diffIds")
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    DIFFIDS_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    config: bytes
    diffIds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, references: _Optional[_Iterable[str]] = ..., config: _Optional[bytes] = ..., diffIds: _Optional[_Iterable[str]] = ...) -> None: ...

class LayersWanted(_message.Message):
    __slots__ = ("diffIds",)
    DIFFIDS_FIELD_NUMBER: _ClassVar[int]
    diffIds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, diffIds: _Optional[_Iterable[str]] = ...) -> None: ...

class LayerStart(_message.Message):
    __slots__ = ("diffId", "sizeBytes")
    DIFFID_FIELD_NUMBER: _ClassVar[int]
    SIZEBYTES_FIELD_NUMBER: _ClassVar[int]
    diffId: str
    sizeBytes: int
    def __init__(self, diffId: _Optional[str] = ..., sizeBytes: _Optional[int] = ...) -> None: ...

class ContainerStats(_message.Message):
    __slots__ = ("name", "cpuNanos", "cpuNanoCores", "memoryUsageBytes", "memoryWorkingSetBytes", "memoryRssBytes", "memoryLimitBytes", "processes", "fsUsageBytes", "fsInodes", "cpuPeriods", "cpuThrottledPeriods", "cpuThrottledNanos", "startedNanos", "oomKills")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CPUNANOS_FIELD_NUMBER: _ClassVar[int]
    CPUNANOCORES_FIELD_NUMBER: _ClassVar[int]
    MEMORYUSAGEBYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORYWORKINGSETBYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORYRSSBYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORYLIMITBYTES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    FSUSAGEBYTES_FIELD_NUMBER: _ClassVar[int]
    FSINODES_FIELD_NUMBER: _ClassVar[int]
    CPUPERIODS_FIELD_NUMBER: _ClassVar[int]
    CPUTHROTTLEDPERIODS_FIELD_NUMBER: _ClassVar[int]
    CPUTHROTTLEDNANOS_FIELD_NUMBER: _ClassVar[int]
    STARTEDNANOS_FIELD_NUMBER: _ClassVar[int]
    OOMKILLS_FIELD_NUMBER: _ClassVar[int]
    name: str
    cpuNanos: int
    cpuNanoCores: int
    memoryUsageBytes: int
    memoryWorkingSetBytes: int
    memoryRssBytes: int
    memoryLimitBytes: int
    processes: int
    fsUsageBytes: int
    fsInodes: int
    cpuPeriods: int
    cpuThrottledPeriods: int
    cpuThrottledNanos: int
    startedNanos: int
    oomKills: int
    def __init__(self, name: _Optional[str] = ..., cpuNanos: _Optional[int] = ..., cpuNanoCores: _Optional[int] = ..., memoryUsageBytes: _Optional[int] = ..., memoryWorkingSetBytes: _Optional[int] = ..., memoryRssBytes: _Optional[int] = ..., memoryLimitBytes: _Optional[int] = ..., processes: _Optional[int] = ..., fsUsageBytes: _Optional[int] = ..., fsInodes: _Optional[int] = ..., cpuPeriods: _Optional[int] = ..., cpuThrottledPeriods: _Optional[int] = ..., cpuThrottledNanos: _Optional[int] = ..., startedNanos: _Optional[int] = ..., oomKills: _Optional[int] = ...) -> None: ...

class PodStats(_message.Message):
    __slots__ = ("namespace", "name", "uid", "containers", "interfaces")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    containers: _containers.RepeatedCompositeFieldContainer[ContainerStats]
    interfaces: _containers.RepeatedCompositeFieldContainer[InterfaceStats]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., containers: _Optional[_Iterable[_Union[ContainerStats, _Mapping]]] = ..., interfaces: _Optional[_Iterable[_Union[InterfaceStats, _Mapping]]] = ...) -> None: ...

class InterfaceStats(_message.Message):
    __slots__ = ("name", "receiveBytes", "receivePackets", "receiveErrors", "receiveDropped", "transmitBytes", "transmitPackets", "transmitErrors", "transmitDropped")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RECEIVEBYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVEPACKETS_FIELD_NUMBER: _ClassVar[int]
    RECEIVEERRORS_FIELD_NUMBER: _ClassVar[int]
    RECEIVEDROPPED_FIELD_NUMBER: _ClassVar[int]
    TRANSMITBYTES_FIELD_NUMBER: _ClassVar[int]
    TRANSMITPACKETS_FIELD_NUMBER: _ClassVar[int]
    TRANSMITERRORS_FIELD_NUMBER: _ClassVar[int]
    TRANSMITDROPPED_FIELD_NUMBER: _ClassVar[int]
    name: str
    receiveBytes: int
    receivePackets: int
    receiveErrors: int
    receiveDropped: int
    transmitBytes: int
    transmitPackets: int
    transmitErrors: int
    transmitDropped: int
    def __init__(self, name: _Optional[str] = ..., receiveBytes: _Optional[int] = ..., receivePackets: _Optional[int] = ..., receiveErrors: _Optional[int] = ..., receiveDropped: _Optional[int] = ..., transmitBytes: _Optional[int] = ..., transmitPackets: _Optional[int] = ..., transmitErrors: _Optional[int] = ..., transmitDropped: _Optional[int] = ...) -> None: ...

class NodeStats(_message.Message):
    __slots__ = ("node", "timeNanos", "cpuNanos", "cpuNanoCores", "memoryWorkingSetBytes", "memoryUsageBytes", "pods")
    NODE_FIELD_NUMBER: _ClassVar[int]
    TIMENANOS_FIELD_NUMBER: _ClassVar[int]
    CPUNANOS_FIELD_NUMBER: _ClassVar[int]
    CPUNANOCORES_FIELD_NUMBER: _ClassVar[int]
    MEMORYWORKINGSETBYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORYUSAGEBYTES_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    node: str
    timeNanos: int
    cpuNanos: int
    cpuNanoCores: int
    memoryWorkingSetBytes: int
    memoryUsageBytes: int
    pods: _containers.RepeatedCompositeFieldContainer[PodStats]
    def __init__(self, node: _Optional[str] = ..., timeNanos: _Optional[int] = ..., cpuNanos: _Optional[int] = ..., cpuNanoCores: _Optional[int] = ..., memoryWorkingSetBytes: _Optional[int] = ..., memoryUsageBytes: _Optional[int] = ..., pods: _Optional[_Iterable[_Union[PodStats, _Mapping]]] = ...) -> None: ...

class NetworkDeviation(_message.Message):
    __slots__ = ("kind", "item", "wanted", "actual")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    item: str
    wanted: str
    actual: str
    def __init__(self, kind: _Optional[str] = ..., item: _Optional[str] = ..., wanted: _Optional[str] = ..., actual: _Optional[str] = ...) -> None: ...

class NetworkReport(_message.Message):
    __slots__ = ("deviations", "repairs", "fixed", "fastPathPackets", "problems", "omitted")
    class RepairsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FastPathPacketsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    REPAIRS_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    FASTPATHPACKETS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    OMITTED_FIELD_NUMBER: _ClassVar[int]
    deviations: _containers.RepeatedCompositeFieldContainer[NetworkDeviation]
    repairs: _containers.ScalarMap[str, int]
    fixed: bool
    fastPathPackets: _containers.ScalarMap[str, int]
    problems: _containers.RepeatedScalarFieldContainer[str]
    omitted: int
    def __init__(self, deviations: _Optional[_Iterable[_Union[NetworkDeviation, _Mapping]]] = ..., repairs: _Optional[_Mapping[str, int]] = ..., fixed: _Optional[bool] = ..., fastPathPackets: _Optional[_Mapping[str, int]] = ..., problems: _Optional[_Iterable[str]] = ..., omitted: _Optional[int] = ...) -> None: ...

class NetworkHop(_message.Message):
    __slots__ = ("kind", "text", "dropped", "source", "target", "underlay")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    UNDERLAY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    dropped: bool
    source: str
    target: str
    underlay: str
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ..., dropped: _Optional[bool] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., underlay: _Optional[str] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("open", "id", "stdin", "stdinClosed", "stdout", "stderr", "resize", "exit", "image", "imageOffer", "layersWanted", "layerStart", "progress", "freedBytes", "stats", "stdoutClosed", "pod", "networkReport", "hop")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    STDINCLOSED_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGEOFFER_FIELD_NUMBER: _ClassVar[int]
    LAYERSWANTED_FIELD_NUMBER: _ClassVar[int]
    LAYERSTART_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FREEDBYTES_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    STDOUTCLOSED_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    NETWORKREPORT_FIELD_NUMBER: _ClassVar[int]
    HOP_FIELD_NUMBER: _ClassVar[int]
    open: OpenStream
    id: str
    stdin: bytes
    stdinClosed: bool
    stdout: bytes
    stderr: bytes
    resize: TerminalSize
    exit: Exit
    image: Image
    imageOffer: ImageOffer
    layersWanted: LayersWanted
    layerStart: LayerStart
    progress: str
    freedBytes: int
    stats: NodeStats
    stdoutClosed: bool
    pod: _pod_pb2.Pod
    networkReport: NetworkReport
    hop: NetworkHop
    def __init__(self, open: _Optional[_Union[OpenStream, _Mapping]] = ..., id: _Optional[str] = ..., stdin: _Optional[bytes] = ..., stdinClosed: _Optional[bool] = ..., stdout: _Optional[bytes] = ..., stderr: _Optional[bytes] = ..., resize: _Optional[_Union[TerminalSize, _Mapping]] = ..., exit: _Optional[_Union[Exit, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., imageOffer: _Optional[_Union[ImageOffer, _Mapping]] = ..., layersWanted: _Optional[_Union[LayersWanted, _Mapping]] = ..., layerStart: _Optional[_Union[LayerStart, _Mapping]] = ..., progress: _Optional[str] = ..., freedBytes: _Optional[int] = ..., stats: _Optional[_Union[NodeStats, _Mapping]] = ..., stdoutClosed: _Optional[bool] = ..., pod: _Optional[_Union[_pod_pb2.Pod, _Mapping]] = ..., networkReport: _Optional[_Union[NetworkReport, _Mapping]] = ..., hop: _Optional[_Union[NetworkHop, _Mapping]] = ...) -> None: ...
