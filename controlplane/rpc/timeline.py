"""The Timeline service: an object's records and those of what it owns, as far as the caller may see them.

Queries run in one thread of their own, one at a time, each page by itself: neither a slow reader nor a large answer holds the
file, the event loop or memory.
"""

from __future__ import annotations

import asyncio
import functools
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from controlplane.resources import Registry
from controlplane.rpc.permissions import Permissions
from controlplane.store import Store
from controlplane.timeline import reading
from controlplane.timeline.reading import Found, Life, Reader, Wanted
from controlplane.timeline.recorder import Recorder
from controlplane.timeline.records import NOTHING, Subject, Type, made_up
from controlplane.timeline.thread import DaemonThread
from pinnace import kinds
from pinnace.api.v1 import objects_pb2, timeline_pb2, timeline_pb2_grpc
from pinnace.errors import ApiError, BadRequest, Forbidden, NotFound, TooManyRequests, Unavailable
from pinnace.kinds import Kind

T = TypeVar("T")
# Records of one answer and of one page, calls at once and of one user, and objects whose permissions are checked in one turn.
MAX_RECORDS, PAGE, MAX_CALLS, MAX_OWN, CHECKS = 50_000, 250, 64, 8, 50
# Seconds that an answer waits for the newest changes, and for the disk; and that a watch sleeps at most.
FLUSH, PATIENCE, ROUND = 2.0, 20.0, 30.0
_WIRE = timeline_pb2.TimelineRecord.Type
_GAP, _EVENT = int(Type.GAP), int(Type.EVENT)


@dataclass(slots=True)
class _View:
    """What one call may see of an object: lives by the number of their records."""

    lives: dict[int, Life] = field(default_factory=dict)
    hidden: dict[int, Life] = field(default_factory=dict)
    # Numbers of objects whose events are hidden.
    eventless: set[int] = field(default_factory=set)
    truncated: bool = False


class Timeline(timeline_pb2_grpc.TimelineServicer):
    def __init__(self, store: Store, permissions: Permissions, recorder: Recorder | None) -> None:
        """`recorder` None: the control plane records nothing."""
        self._store = store
        self._registry = Registry.of(store)
        self._may = permissions
        self._recorder = recorder
        self._thread = DaemonThread("timeline-reader")
        self._calls = Counter[str]()

    async def Read(
        self, request: timeline_pb2.TimelineRequest, context: Any
    ) -> AsyncIterator[timeline_pb2.TimelineResponse]:  # fmt: skip
        kind = self._registry.find(request.ref.apiVersion, request.ref.kind).storage
        namespace = request.ref.namespace if kind.namespaced else ""
        self._may.on("get", kind, namespace=namespace, name=request.ref.name)
        if self._recorder is None:
            raise NotFound("this control plane keeps no timeline: it runs with --timeline-maxsize 0")
        if request.limit < 0 or request.sinceMicros < 0 or not request.ref.name:
            raise BadRequest("a timeline is of one named object, and its limit and time are not negative")
        query = _Query(self, self._recorder, kind, namespace, request)
        with self._slot():
            async for response in query.present():
                yield response
            if request.watch:
                async for response in query.following():
                    yield response

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """One of the calls at once. Raises TooManyRequests."""
        caller = self._may.caller
        user = "" if caller is None else caller.user
        if self._calls[user] >= MAX_OWN or self._calls.total() >= MAX_CALLS:
            raise TooManyRequests(f"{self._calls[user]} timelines are being read or watched by this user already")
        self._calls[user] += 1
        try:
            yield
        finally:
            self._calls[user] -= 1
            self._calls += Counter()

    async def query(self, fn: Callable[[Reader], T]) -> T:
        """Raises Unavailable."""
        assert self._recorder is not None
        path = self._recorder.file.path

        def run() -> T:
            with reading.opened(path) as reader:
                return fn(reader)

        try:
            async with asyncio.timeout(PATIENCE):
                return await self._thread.run(run)
        except sqlite3.Error as error:
            raise Unavailable(f"the timeline cannot be read: {error}") from error
        except TimeoutError:
            raise Unavailable(f"the timeline could not be read within {PATIENCE:.0f} s") from None

    def check(self, kind: Kind, namespace: str, name: str) -> None:
        """Raises Forbidden."""
        self._may.on("get", kind, namespace=namespace, name=name)

    def sees(self, subject: Subject) -> bool:
        """Whether the caller may get an object, which may be gone, or its whole kind."""
        try:
            kind = self._registry.find(subject.api_version, subject.kind)
            self._may.on("get", kind, namespace=subject.namespace, name=subject.name)
        except ApiError:
            return False
        return True

    def sees_events(self, namespace: str) -> bool:
        """Events about objects without a namespace are in the namespace default."""
        try:
            self._may.on("list", kinds.EVENT, namespace=namespace or "default")
        except Forbidden:
            return False
        return True

    def uid(self, kind: Kind, namespace: str, name: str) -> str:
        """Of the object that there is now, or empty."""
        row = self._store.row(kind, kind.key(namespace, name))
        return "" if row is None else row.message_once.metadata.uid or made_up(kind.kind, namespace, name)


class _Query:
    """One call."""

    def __init__(
        self, service: Timeline, recorder: Recorder, kind: Kind, namespace: str, request: timeline_pb2.TimelineRequest
    ) -> None:  # fmt: skip
        self._service = service
        self._recorder = recorder
        self._kind = kind
        self._namespace = namespace
        self._request = request
        self._kinds = frozenset(name.lower() for name in request.kinds)
        self._root: Life | None = None
        self._last = 0

    async def present(self) -> AsyncIterator[timeline_pb2.TimelineResponse]:
        """The records that there are, the first response with the head. Raises NotFound, Unavailable."""
        late = not await self._recorder.flushed(FLUSH)
        name = self._request.ref.name
        lives = await self._service.query(lambda reader: reader.lives(self._kind, self._namespace, name))
        head = self._choose(lives)
        head.late = late
        head.beginMicros, self._last = await self._service.query(lambda reader: (_micros(reader.begin()), reader.end()))
        view = await self._view()
        most = min(self._request.limit or MAX_RECORDS, MAX_RECORDS)
        numbers, older = await self._service.query(lambda reader: self._numbers(reader, view, most))
        head.truncated = view.truncated or older
        head.hiddenObjects = len(view.hidden)
        head.hiddenRecords = await self._service.query(lambda reader: self._hidden(reader, view))
        response = timeline_pb2.TimelineResponse(head=head)
        for start in range(0, len(numbers), PAGE):
            await self._fill(response, numbers[start : start + PAGE], view)
            yield response
            response = timeline_pb2.TimelineResponse()
        if not numbers:
            yield response

    def _choose(self, lives: list[Life]) -> timeline_pb2.TimelineHead:
        """The life that is shown. Raises NotFound."""
        real = [life for life in lives if not reading.is_made_up(life)] or lives
        wanted, name = self._request.uid, self._request.ref.name
        now = self._service.uid(self._kind, self._namespace, name)
        chosen = next((life for life in real if life.subject.uid == (wanted or now)), None)
        if chosen is None and wanted and wanted != now:
            raise NotFound(f'the timeline knows no {self._kind.kind} "{name}" with uid {wanted[:64]!r}')
        if chosen is None and not now:
            if not real:
                raise NotFound.of(self._kind.resource, name)
            chosen = real[0]
        if chosen is None:
            # It has not changed since the log began.
            chosen = Life(-1, Subject(now, self._kind.api_version, self._kind.kind, self._namespace, name), None, None)
        self._root = chosen
        head = timeline_pb2.TimelineHead(uid=chosen.subject.uid)
        for life in real:
            head.lives.add(
                uid=life.subject.uid, createdMicros=_micros(life.created or 0), deletedMicros=_micros(life.deleted or 0)
            )
        return head

    async def _view(self) -> _View:
        """The objects whose records are shown."""
        root, view = self._root, _View()
        assert root is not None
        found, view.truncated = [root], False
        if not self._request.alone:
            found, view.truncated = await self._service.query(lambda reader: reader.owned(root))
        lives = await self._service.query(lambda reader: reader.lives(self._kind, self._namespace, root.subject.name))
        found += [life for life in lives if reading.is_made_up(life) and life.number != root.number]
        events = dict[str, bool]()
        for at, life in enumerate(found):
            subject = life.subject
            if at % CHECKS == CHECKS - 1:
                await asyncio.sleep(0)
            if self._kinds and subject.kind.lower() not in self._kinds:
                continue
            if life is not root and not self._service.sees(subject):
                view.hidden[life.number] = life
                continue
            view.lives[life.number] = life
            if subject.namespace not in events:
                events[subject.namespace] = self._service.sees_events(subject.namespace)
            if not events[subject.namespace]:
                view.eventless.add(life.number)
        return view

    def _numbers(self, reader: Reader, view: _View, most: int) -> tuple[list[int], bool]:
        since = self._request.sinceMicros / 1e6
        types = tuple(map(int, self._request.types))
        plain = tuple(number for number in view.lives if number not in view.eventless)
        found, older = reader.numbers(plain, Wanted(since, types=types), most)
        quiet = types or tuple(int(type_) for type_ in Type if type_ is not Type.EVENT)
        quiet = tuple(type_ for type_ in quiet if type_ != _EVENT)
        if view.eventless and quiet:
            more, cut = reader.numbers(tuple(view.eventless), Wanted(since, types=quiet), most)
            found, older = found + more, older or cut
        gaps, _ = reader.numbers((0,), self._lifetime(view, since), most)
        found = sorted({*found, *gaps})
        return found[-most:], older or len(found) > most

    def _lifetime(self, view: _View, since: float) -> Wanted:
        """When a gap concerns the objects. Without a record of the creation any may have hidden it."""
        root = self._root
        begin = root.created if root is not None and root.created is not None else 0.0
        ends = [math.inf if life.deleted is None else life.deleted for life in view.lives.values()]
        return Wanted(max(since, begin), max(ends, default=math.inf))

    def _hidden(self, reader: Reader, view: _View) -> int:
        """How many records the caller does not see, at most MAX_RECORDS."""
        since = self._request.sinceMicros / 1e6
        hidden, _ = reader.numbers(tuple(view.hidden), Wanted(since, types=tuple(map(int, self._request.types))), MAX_RECORDS)
        events, _ = reader.numbers(tuple(view.eventless), Wanted(since, types=(_EVENT,)), MAX_RECORDS)
        return len(hidden) + (len(events) if not self._request.types or _EVENT in self._request.types else 0)

    async def _fill(self, response: timeline_pb2.TimelineResponse, numbers: Iterable[int], view: _View) -> None:
        wanted = tuple(numbers)
        for found in await self._service.query(lambda reader: list(reader.records(wanted))):
            subject = view.lives[found.number].subject if found.number in view.lives else NOTHING
            if found.type == _GAP or subject is not NOTHING:
                response.records.append(_message(found, subject))

    async def following(self) -> AsyncIterator[timeline_pb2.TimelineResponse]:
        """Records as they are made, of what the caller may see then. Raises Forbidden, Unavailable."""
        while True:
            await self._recorder.changed(ROUND)
            end = await self._service.query(lambda reader: reader.end())
            if end <= self._last:
                continue
            self._service.check(self._kind, self._namespace, self._request.ref.name)
            if self._root is not None and self._root.number < 0:
                self._choose(
                    await self._service.query(lambda reader: reader.lives(self._kind, self._namespace, self._request.ref.name))
                )
            view = await self._view()
            numbers = await self._service.query(functools.partial(self._newer, view=view, last=self._last))
            self._last = end
            for start in range(0, len(numbers), PAGE):
                response = timeline_pb2.TimelineResponse()
                await self._fill(response, numbers[start : start + PAGE], view)
                yield response

    def _newer(self, reader: Reader, *, view: _View, last: int) -> list[int]:
        types = tuple(map(int, self._request.types))
        found, _ = reader.numbers(tuple(view.lives), Wanted(types=types, after=last), MAX_RECORDS)
        gaps, _ = reader.numbers((0,), Wanted(after=last), MAX_RECORDS)
        numbers = sorted({*found, *gaps})
        if not view.eventless:
            return numbers
        events, _ = reader.numbers(tuple(view.eventless), Wanted(types=(_EVENT,), after=last), MAX_RECORDS)
        return sorted(set(numbers) - set(events))


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _message(found: Found, subject: Subject) -> timeline_pb2.TimelineRecord:
    body = found.body
    out = timeline_pb2.TimelineRecord(
        type=_WIRE.Name(found.type), micros=_micros(found.time), revision=found.revision, uid=subject.uid,
        ref=objects_pb2.Reference(
            apiVersion=subject.api_version, kind=subject.kind, namespace=subject.namespace, name=subject.name
        ),
        actor=body.get("by", ""), verb=body.get("verb", ""), subresource=body.get("sub", ""),
        fieldManager=body.get("mgr", ""), truncated=bool(body.get("more")), eventType=body.get("event", ""),
        reason=body.get("reason", ""), message=body.get("message", ""), count=body.get("count", 0),
        host=body.get("host", ""), attempt=body.get("attempt", 0), node=body.get("node", ""), nodes=body.get("nodes", 0),
        feasible=body.get("feasible", 0),
        reporter=body.get("reporter", ""), rejected=dict(body.get("rejected", ())), afterRevision=body.get("before", 0),
    )  # fmt: skip
    for path, *values in body.get("changes", ()):
        change = out.changes.add(path=path, concealed=not values)
        for name, value in zip(("old", "new"), values, strict=False):
            if value is not None:
                setattr(change, name, value)
    return out
