from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VersionResponse(_message.Message):
    __slots__ = ("version", "store", "clock")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    version: str
    store: str
    clock: Clock
    def __init__(self, version: _Optional[str] = ..., store: _Optional[str] = ..., clock: _Optional[_Union[Clock, _Mapping]] = ...) -> None: ...

class Clock(_message.Message):
    __slots__ = ("now", "offset", "adjustable")
    NOW_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ADJUSTABLE_FIELD_NUMBER: _ClassVar[int]
    now: float
    offset: float
    adjustable: bool
    def __init__(self, now: _Optional[float] = ..., offset: _Optional[float] = ..., adjustable: _Optional[bool] = ...) -> None: ...

class AdvanceClockRequest(_message.Message):
    __slots__ = ("seconds",)
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    def __init__(self, seconds: _Optional[float] = ...) -> None: ...

class AdvanceClockResponse(_message.Message):
    __slots__ = ("clock", "silent")
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    clock: Clock
    silent: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, clock: _Optional[_Union[Clock, _Mapping]] = ..., silent: _Optional[_Iterable[str]] = ...) -> None: ...

class JoinTokenRequest(_message.Message):
    __slots__ = ("ttlSeconds", "node")
    TTLSECONDS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ttlSeconds: int
    node: str
    def __init__(self, ttlSeconds: _Optional[int] = ..., node: _Optional[str] = ...) -> None: ...

class JoinTokenResponse(_message.Message):
    __slots__ = ("token", "caHash", "endpoint")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CAHASH_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    token: str
    caHash: str
    endpoint: str
    def __init__(self, token: _Optional[str] = ..., caHash: _Optional[str] = ..., endpoint: _Optional[str] = ...) -> None: ...

class WhyRequest(_message.Message):
    __slots__ = ("namespace", "pod")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    pod: str
    def __init__(self, namespace: _Optional[str] = ..., pod: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("node", "reasons", "scores")
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    node: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.ScalarMap[str, float]
    def __init__(self, node: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., scores: _Optional[_Mapping[str, float]] = ...) -> None: ...

class WhyResponse(_message.Message):
    __slots__ = ("node", "message", "verdicts", "attempts")
    NODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    node: str
    message: str
    verdicts: _containers.RepeatedCompositeFieldContainer[Verdict]
    attempts: int
    def __init__(self, node: _Optional[str] = ..., message: _Optional[str] = ..., verdicts: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., attempts: _Optional[int] = ...) -> None: ...

class RenewClientCertificateRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class RenewClientCertificateResponse(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ...) -> None: ...

class CheckStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DamagedObject(_message.Message):
    __slots__ = ("key", "state")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    key: str
    state: str
    def __init__(self, key: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class CheckStoreResponse(_message.Message):
    __slots__ = ("objects", "truncated", "file")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[DamagedObject]
    truncated: bool
    file: str
    def __init__(self, objects: _Optional[_Iterable[_Union[DamagedObject, _Mapping]]] = ..., truncated: _Optional[bool] = ..., file: _Optional[str] = ...) -> None: ...
