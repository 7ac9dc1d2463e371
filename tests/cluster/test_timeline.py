"""The timeline of objects: who changed what in which order, complete, and as far as the caller may see it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.access.authorizers import Authorizers
from controlplane.access.identity import Identity
from controlplane.resources import Registry
from controlplane.rpc import timeline
from controlplane.rpc.objects import Objects
from controlplane.rpc.permissions import Permissions, calling
from controlplane.rpc.timeline import Timeline
from controlplane.store import origin
from controlplane.timeline import attempts, recorder
from controlplane.timeline.log import Limits, Log
from controlplane.timeline.recorder import Recorder
from pinnace import kinds
from pinnace.api.v1 import objects_pb2, timeline_pb2
from pinnace.api.v1.timeline_pb2 import TimelineRecord
from pinnace.errors import BadRequest, Forbidden, NotFound, TooManyRequests
from pinnace.kinds import Kind
from tests.support import objects, workloads
from tests.support.access import role, role_binding, rule, user
from tests.support.api import sealed
from tests.support.cluster import Cluster, running
from tests.support.rest import Rest

ADMIN = user("root", "system:masters")
JANE = user("jane", "staff")
# Seconds for what takes milliseconds.
DEADLINE = 20


class Recorded:
    """A cluster whose changes are recorded."""

    def __init__(self, cluster: Cluster, log: Log) -> None:
        authorizers = Authorizers(cluster.store)
        Registry.of(cluster.store).plugins += (authorizers.plugin(),)
        self.permissions = Permissions(authorizers)
        self.cluster = cluster
        self.api = Objects(cluster.store, cluster.clock, cluster.ids, permissions=self.permissions)
        self.recorder = Recorder(cluster.store, cluster.clock, log)
        self.service = Timeline(cluster.store, self.permissions, self.recorder)
        cluster.attempted = attempts.sink(self.recorder) or cluster.attempted

    async def apply(self, who: Identity, kind: Kind, manifest: Any, *, manager: str = "kctl") -> None:
        request = objects_pb2.ApplyRequest(objects=[sealed(kind, manifest)], namespace="default", fieldManager=manager)
        with calling(who):
            [result] = (await self.api.Apply(request, None)).results
        assert not result.HasField("error"), result.error

    async def read(
        self, kind: Kind, name: str, *, who: Identity = ADMIN, namespace: str = "default", **how: Any
    ) -> Answer:  # fmt: skip
        ref = objects_pb2.Reference(apiVersion=kind.api_version, kind=kind.kind, namespace=namespace, name=name)
        answer = Answer()
        with calling(who):
            async for response in self.service.Read(timeline_pb2.TimelineRequest(ref=ref, **how), None):
                if response.HasField("head"):
                    answer.head = response.head
                answer.records += response.records
        return answer


class Answer:
    def __init__(self) -> None:
        self.head = timeline_pb2.TimelineHead()
        self.records: list[Any] = []

    def told(self, name: str = "") -> list[tuple[str, str, str]]:
        """Type, actor and object of each record, of all objects or of one."""
        return [
            (TimelineRecord.Type.Name(record.type), record.actor, record.ref.name)
            for record in self.records
            if not name or record.ref.name == name
        ]

    def changes(self) -> list[tuple[str, str, str]]:
        return [(change.path, change.old, change.new) for record in self.records for change in record.changes]


@asynccontextmanager
async def recording(cluster: Cluster, log: Log) -> AsyncIterator[Recorded]:
    recorded = Recorded(cluster, log)
    task = asyncio.ensure_future(recorded.recorder.run())
    try:
        yield recorded
    finally:
        task.cancel()
        [end] = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError), end


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Recorded]:
    async with running() as cluster, recording(cluster, Log(tmp_path / "timeline.db", Limits())) as recorded:
        yield recorded


async def test_a_rollout_is_told_in_order_with_who_did_it(plane: Recorded) -> None:
    """From the user's apply through both controllers and the scheduler to the node's agent; owned objects of all levels."""
    await plane.cluster.join("n1")
    await plane.apply(JANE_ADMIN, kinds.DEPLOYMENT, workloads.deployment(replicas=1))
    await plane.cluster.advance(1)
    [pod] = plane.cluster.names(kinds.POD)
    with origin.acting("system:node:n1"):
        await plane.cluster.report("n1", plane.cluster.get(kinds.POD, pod))
    await plane.cluster.advance(1)
    answer = await plane.read(kinds.DEPLOYMENT, "web")
    [replica_set] = plane.cluster.names(kinds.REPLICA_SET)
    told = answer.told()
    assert told[0] == ("CREATED", "jane", "web")
    assert answer.records[0].fieldManager == "kctl"
    assert answer.records[0].verb == "apply"
    places = [
        told.index(step)
        for step in (
            ("CREATED", "jane", "web"),
            ("CREATED", "controller:deployment", replica_set),
            ("CREATED", "controller:replicaset", pod),
            ("ATTEMPT", "default-scheduler", pod),
            ("CHANGED", "default-scheduler", pod),
            ("STATUS", "system:node:n1", pod),
        )
    ]
    assert places == sorted(places)
    assert ("EVENT", "controller:deployment", "web") in told
    assert ("EVENT", "default-scheduler", pod) in told
    assert ("spec.nodeName", "", "n1") in answer.changes()
    assert ("status.phase", "Pending", "Running") in answer.changes()
    assert ("status.readyReplicas", "0", "1") in answer.changes()
    revisions = [record.revision for record in answer.records if record.type != TimelineRecord.ATTEMPT]
    assert revisions == sorted(revisions)


JANE_ADMIN = user("jane", "system:masters")


async def test_a_rejection_has_its_counts(plane: Recorded) -> None:
    """Each attempt, also one that wrote nothing because it says the same as the last."""
    await plane.cluster.join("n1", cpu="1")
    await plane.cluster.create(objects.pod("web", objects.container(requests={"cpu": "3"})))
    await plane.cluster.join("n2", cpu="1")
    answer = await plane.read(kinds.POD, "web")
    tried = [record for record in answer.records if record.type == TimelineRecord.ATTEMPT]
    assert [record.attempt for record in tried] == list(range(1, len(tried) + 1))
    assert not tried[0].node
    assert dict(tried[0].rejected) == {"Insufficient cpu": 1}
    assert tried[0].message == "0/1 nodes are available: 1 Insufficient cpu."


async def test_thousands_of_changes_are_all_there(plane: Recorded) -> None:
    """More than the history of the watch cache holds."""
    await plane.cluster.create(objects.config_map("settings", {"n": "0"}))
    count = 6_000
    for at in range(1, count + 1):
        await plane.cluster.store.update(lambda tx, at=at: _set(tx, str(at)))
    answer = await plane.read(kinds.CONFIG_MAP, "settings")
    assert answer.changes() == [("data.n", str(at - 1), str(at)) for at in range(1, count + 1)]
    assert not answer.head.truncated
    newest = await plane.read(kinds.CONFIG_MAP, "settings", limit=2)
    assert newest.changes() == [("data.n", "5998", "5999"), ("data.n", "5999", "6000")]
    assert newest.head.truncated


def _set(tx: Any, value: str) -> None:
    item = tx.require(kinds.CONFIG_MAP, "default", "settings")
    item.data["n"] = value
    tx.put(kinds.CONFIG_MAP, item)


async def test_a_secret_shows_that_it_changed(plane: Recorded, tmp_path: Path) -> None:
    """No file has its values."""
    for value in ("Zmlyc3Rmb3VuZA==", "c2Vjb25kZm91bmQ="):
        await plane.apply(ADMIN, kinds.SECRET, {"metadata": {"name": "s"}, "data": {"key": value}})
    answer = await plane.read(kinds.SECRET, "s")
    assert [(change.path, change.concealed) for record in answer.records for change in record.changes] == [("data.key", True)]
    written = b"".join(file.read_bytes() for file in tmp_path.glob("timeline.db*"))
    for secret in (b"Zmlyc3Rmb3VuZA", b"c2Vjb25kZm91bmQ", b"firstfound", b"secondfound"):
        assert secret not in written
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("timeline.db*")} == {0o600}


async def test_a_deleted_object_is_found_by_its_name(plane: Recorded) -> None:
    """And one that has its name now is another: each has a timeline of its own."""
    cluster = plane.cluster
    await cluster.create(objects.config_map("settings", {"a": "1"}))
    first = cluster.get(kinds.CONFIG_MAP, "settings").metadata.uid
    await cluster.delete(kinds.CONFIG_MAP, "settings")
    gone = await plane.read(kinds.CONFIG_MAP, "settings")
    assert [type_ for type_, _, _ in gone.told()] == ["CREATED", "DELETED"]
    await cluster.create(objects.config_map("settings", {"a": "2"}))
    second = await plane.read(kinds.CONFIG_MAP, "settings")
    assert [type_ for type_, _, _ in second.told()] == ["CREATED"]
    assert [life.uid for life in second.head.lives] == [second.head.uid, first]
    assert second.head.lives[1].deletedMicros
    assert (await plane.read(kinds.CONFIG_MAP, "settings", uid=first)).told() == gone.told()
    with pytest.raises(NotFound, match="with uid"):
        await plane.read(kinds.CONFIG_MAP, "settings", uid="none")
    with pytest.raises(NotFound, match='configmaps "absent" not found'):
        await plane.read(kinds.CONFIG_MAP, "absent")


async def test_a_caller_sees_what_the_caller_may_get(plane: Recorded) -> None:
    """Everything else is counted."""
    cluster = plane.cluster
    await cluster.join("n1")
    await plane.apply(ADMIN, kinds.DEPLOYMENT, workloads.deployment(replicas=1))
    await cluster.advance(1)
    with pytest.raises(Forbidden, match='User "jane" cannot get resource "deployments"'):
        await plane.read(kinds.DEPLOYMENT, "web", who=JANE)
    await cluster.create(role("reader", rule("get", "deployments replicasets", group="apps")))
    await cluster.create(role_binding("reader", "Role/reader", "User:jane"))
    every, hers = await plane.read(kinds.DEPLOYMENT, "web"), await plane.read(kinds.DEPLOYMENT, "web", who=JANE)
    assert {record.ref.kind for record in every.records} == {"Deployment", "ReplicaSet", "Pod"}
    assert {record.ref.kind for record in hers.records} == {"Deployment", "ReplicaSet"}
    assert TimelineRecord.EVENT not in {record.type for record in hers.records}
    assert hers.head.hiddenObjects == 1
    assert hers.head.hiddenRecords == len(every.records) - len(hers.records)
    assert every.head.hiddenRecords == 0
    await cluster.create(role("events", rule("list", "events")))
    await cluster.create(role_binding("events", "Role/events", "User:jane"))
    assert TimelineRecord.EVENT in {record.type for record in (await plane.read(kinds.DEPLOYMENT, "web", who=JANE)).records}


async def test_records_are_chosen_by_type_kind_and_time(plane: Recorded) -> None:
    cluster = plane.cluster
    await cluster.join("n1")
    await plane.apply(ADMIN, kinds.DEPLOYMENT, workloads.deployment(replicas=1))
    await cluster.advance(10)
    since = int(cluster.clock.now() * 1e6)
    await plane.apply(ADMIN, kinds.DEPLOYMENT, workloads.deployment(replicas=2))
    await cluster.advance(1)
    pods = await plane.read(kinds.DEPLOYMENT, "web", kinds=["Pod"], types=[TimelineRecord.CREATED])
    assert [(type_, who) for type_, who, _ in pods.told()] == [("CREATED", "controller:replicaset")] * 2
    late = await plane.read(kinds.DEPLOYMENT, "web", sinceMicros=since, types=[TimelineRecord.CHANGED], alone=True)
    assert late.changes()[0] == ("spec.replicas", "1", "2")
    assert {name for _, _, name in late.told()} == {"web"}


async def test_an_event_has_its_writer_and_what_it_says(plane: Recorded) -> None:
    """A user may name any component, and any object by its uid."""
    await plane.cluster.create(objects.config_map("settings", {"n": "0"}))
    uid = plane.cluster.get(kinds.CONFIG_MAP, "settings").metadata.uid
    about = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "namespace": "default", "uid": uid}
    event = {
        "metadata": {"name": "e"}, "involvedObject": about, "type": "Warning", "reason": "Lie", "message": "text",
        "source": {"component": "default-scheduler", "host": "n1"},
    }  # fmt: skip
    await plane.apply(user("mallory", "system:masters"), kinds.EVENT, event)
    [_, told] = (await plane.read(kinds.CONFIG_MAP, "settings")).records
    assert (told.actor, told.reporter, told.host, told.reason, told.message) == (
        "mallory",
        "default-scheduler",
        "n1",
        "Lie",
        "text",
    )


async def test_an_event_shows_no_object_of_another_namespace(tmp_path: Path) -> None:
    """Mallory knows the uid of an object that has not changed since the file began, and may write events in `default` alone."""
    async with running() as cluster:
        await cluster.create(objects.make(kinds.NAMESPACE, "private"))
        await cluster.create(objects.config_map("plans", {"n": "0"}, namespace="private"))
        uid = cluster.get(kinds.CONFIG_MAP, "plans", namespace="private").metadata.uid
        async with recording(cluster, Log(tmp_path / "timeline.db", Limits())) as plane:
            about = {"apiVersion": "v1", "kind": "ConfigMap", "name": "bait", "namespace": "default", "uid": uid}
            event = {"metadata": {"name": "e"}, "involvedObject": about, "type": "Normal", "reason": "Bait", "message": "m"}
            await plane.apply(user("mallory", "system:masters"), kinds.EVENT, event)
            await plane.recorder.flushed(DEADLINE)
            await cluster.change(
                kinds.CONFIG_MAP, "plans", lambda item: item.data.update({"n": "secret"}), namespace="private"
            )  # fmt: skip
            await cluster.create(role("reader", rule("get", "configmaps"), rule("list", "events")))
            await cluster.create(role_binding("reader", "Role/reader", "User:jane"))
            bait = await plane.read(kinds.CONFIG_MAP, "bait", who=JANE)
            plans = await plane.read(kinds.CONFIG_MAP, "plans", namespace="private")
    assert [record.reason for record in bait.records] == ["Bait"]
    assert plans.changes() == [("data.n", "0", "secret")]


async def test_an_event_in_another_namespace_is_not_shown(plane: Recorded) -> None:
    """Kubernetes allows it with an eventTime; a reader of the object may not read that namespace."""
    cluster = plane.cluster
    await cluster.create(objects.make(kinds.NAMESPACE, "private"))
    await cluster.create(objects.config_map("settings", {"n": "0"}))
    uid = cluster.get(kinds.CONFIG_MAP, "settings").metadata.uid
    event = {
        "metadata": {"name": "e", "namespace": "private"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "Told",
        "reportingComponent": "example.com/a", "reportingInstance": "a-1", "action": "Do", "type": "Normal", "message": "m",
        "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "namespace": "default", "uid": uid},
    }  # fmt: skip
    await plane.apply(ADMIN, kinds.EVENT, event)
    assert [TimelineRecord.Type.Name(record.type) for record in (await plane.read(kinds.CONFIG_MAP, "settings")).records] == [
        "CREATED"
    ]


async def test_heartbeats_are_not_recorded(plane: Recorded) -> None:
    """Of a Lease only that it has another holder."""
    await plane.cluster.join("n1")
    for _ in range(5):
        await plane.cluster.beat("n1")
    ref = objects_pb2.Reference(apiVersion="coordination.k8s.io/v1", kind="Lease", namespace="kube-node-lease", name="n1")
    with calling(ADMIN):
        async with aclosing(plane.service.Read(timeline_pb2.TimelineRequest(ref=ref), None)) as responses:
            [response] = [response async for response in responses]
    assert [record.type for record in response.records] == [TimelineRecord.CREATED]


async def test_a_watch_tells_what_happens_next(plane: Recorded) -> None:
    """Also of objects that are owned from then on."""
    cluster = plane.cluster
    await plane.apply(ADMIN, kinds.DEPLOYMENT, workloads.deployment(replicas=0))
    await cluster.advance(1)
    request = timeline_pb2.TimelineRequest(
        ref=objects_pb2.Reference(apiVersion="apps/v1", kind="Deployment", namespace="default", name="web"), watch=True
    )
    with calling(ADMIN):
        async with asyncio.timeout(DEADLINE), aclosing(plane.service.Read(request, None)) as responses:
            before = await anext(responses)
            assert before.records[0].type == TimelineRecord.CREATED
            await plane.apply(ADMIN, kinds.DEPLOYMENT, workloads.deployment(replicas=1))
            ticking = asyncio.ensure_future(_tick(cluster))
            told: list[Any] = []
            async for response in responses:
                told += response.records
                if any(record.ref.kind == "Pod" for record in told):
                    break
            ticking.cancel()
    changed = [change for record in told for change in record.changes]
    assert ("spec.replicas", "0", "1") in [(change.path, change.old, change.new) for change in changed]
    assert len({record.revision for record in told if record.changes}) == len([record for record in told if record.changes])


async def test_calls_of_one_user_are_bounded(plane: Recorded) -> None:
    """Another user still reads, and the first one again once a call has ended."""
    await plane.cluster.create(objects.config_map("settings", {"n": "0"}))
    request = timeline_pb2.TimelineRequest(
        ref=objects_pb2.Reference(apiVersion="v1", kind="ConfigMap", namespace="default", name="settings"), watch=True
    )
    with calling(ADMIN):
        calls = [plane.service.Read(request, None) for _ in range(timeline.MAX_OWN)]
        for call in calls:
            await anext(call)
        with pytest.raises(TooManyRequests, match="8 timelines are being read or watched by this user already"):
            await anext(plane.service.Read(request, None))
    assert (await plane.read(kinds.CONFIG_MAP, "settings", who=JANE_ADMIN)).records
    for call in calls:
        await call.aclose()
    assert (await plane.read(kinds.CONFIG_MAP, "settings")).records


async def _tick(cluster: Cluster) -> None:
    while True:
        await cluster.clock.advance(0.1)
        await asyncio.sleep(0.01)


async def test_a_restart_goes_on_where_it_ended(tmp_path: Path) -> None:
    """After a clean end nothing is missing; what happened while nothing was recorded is a gap with its number."""
    log = Log(tmp_path / "timeline.db", Limits())
    async with running() as cluster:
        async with recording(cluster, log) as plane:
            await cluster.create(objects.config_map("settings", {"n": "0"}))
            await cluster.store.update(lambda tx: _set(tx, "1"))
        async with recording(cluster, log) as plane:
            await cluster.store.update(lambda tx: _set(tx, "2"))
            answer = await plane.read(kinds.CONFIG_MAP, "settings")
            assert [type_ for type_, _, _ in answer.told()] == ["CREATED", "CHANGED", "CHANGED"]
        for value in ("3", "4", "5"):
            await cluster.store.update(lambda tx, value=value: _set(tx, value))
        async with recording(cluster, log) as plane:
            await cluster.store.update(lambda tx: _set(tx, "6"))
            answer = await plane.read(kinds.CONFIG_MAP, "settings")
    assert answer.changes() == [("data.n", "0", "1"), ("data.n", "1", "2"), ("data.n", "5", "6")]
    [gap] = [record for record in answer.records if record.type == TimelineRecord.GAP]
    assert gap.message == "the control plane was not running"
    assert gap.count >= 3


class Stuck(Log):
    """A disk that hangs until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Limits())
        self.go = threading.Event()

    def append(self, *batch: Any, **how: Any) -> None:
        self.go.wait(DEADLINE)
        super().append(*batch, **how)


async def test_a_disk_that_hangs_delays_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit in the queue meanwhile is counted, and shown as a gap once the disk answers."""
    monkeypatch.setattr(recorder, "MAX_QUEUE", 50)
    log = Stuck(tmp_path / "timeline.db")
    async with running() as cluster, recording(cluster, log) as plane:
        await cluster.create(objects.config_map("settings", {"n": "0"}))
        plane.recorder._urgent.set()
        async with asyncio.timeout(DEADLINE):
            for at in range(1, 201):
                await cluster.store.update(lambda tx, at=at: _set(tx, str(at)))
        log.go.set()
        answer = await plane.read(kinds.CONFIG_MAP, "settings")
        # More than one, if the queue was full before the first write began too.
        gaps = [record for record in answer.records if record.type == TimelineRecord.GAP]
        assert {gap.message for gap in gaps} == {"the disk did not keep up"}
        assert sum(gap.count for gap in gaps) == 201 + len(gaps) - len(answer.records) > 90


async def test_requests_over_rest_are_by_their_user(plane: Recorded) -> None:
    """With Kubernetes' verb, the subresource and the field manager; an impersonated user is the one who acts."""
    rest = Rest(plane.cluster, user("jane", "system:masters"))
    item = workloads.deployment(replicas=0)
    where = "/apis/apps/v1/namespaces/default/deployments"
    assert (await rest.ask("POST", f"{where}?fieldManager=one", item))[0] == 201
    patch = {"spec": {"replicas": 1}}
    merge = {"content_type": "application/merge-patch+json"}
    assert (await rest.ask("PATCH", f"{where}/web/scale?fieldManager=two", patch, **merge))[0] == 200
    john = {"impersonate_user": "john", "impersonate_group": "system:masters"}
    apply = {"content_type": "application/apply-patch+yaml", **john}
    changed = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"paused": True}}
    assert (await rest.ask("PATCH", f"{where}/web?fieldManager=three", changed, **apply))[0] == 200
    assert (await rest.ask("DELETE", f"{where}/web"))[0] == 200
    await plane.cluster.advance(1)
    told = [record for record in (await plane.read(kinds.DEPLOYMENT, "web", alone=True)).records if record.verb]
    assert [(record.actor, record.verb, record.subresource, record.fieldManager) for record in told] == [
        ("jane", "create", "", "one"),
        ("jane", "patch", "scale", "two"),
        ("john", "apply", "", "three"),
        ("jane", "delete", "", ""),
    ]


class Full(Log):
    """A disk without room until there is some."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Limits())
        self.full = True

    def append(self, *batch: Any, **how: Any) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().append(*batch, **how)


async def test_a_full_disk_costs_records_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Objects are written, the error is logged once, and what is missing is a gap with its number."""
    log = Full(tmp_path / "timeline.db")
    async with running() as cluster, recording(cluster, log) as plane:
        await cluster.create(objects.config_map("settings", {"n": "0"}))
        for at in range(1, 6):
            await cluster.store.update(lambda tx, at=at: _set(tx, str(at)))
            await cluster.advance(recorder.RETRY + 1)
        assert cluster.get(kinds.CONFIG_MAP, "settings").data["n"] == "5"
        log.full = False
        # Until it is tried again.
        async with asyncio.timeout(DEADLINE):
            while (tmp_path / "timeline.db").stat().st_size == 0 or not await plane.recorder.flushed(0.01):
                await cluster.advance(recorder.RETRY)
        await cluster.store.update(lambda tx: _set(tx, "6"))
        answer = await plane.read(kinds.CONFIG_MAP, "settings")
        assert answer.changes()[-1] == ("data.n", "5", "6")
        gaps = [record for record in answer.records if record.type == TimelineRecord.GAP]
        assert {gap.message for gap in gaps} == {"the disk could not be written"}
        # Of a creation and six updates.
        assert sum(gap.count for gap in gaps) == 7 + len(gaps) - len(answer.records) > 0
    assert len([entry for entry in caplog.records if "timeline_not_written" in entry.message]) == 1


async def test_wrong_requests_are_refused(plane: Recorded) -> None:
    """Also any request to a control plane without a timeline."""
    await plane.cluster.create(objects.config_map("settings", {"n": "0"}))
    for wrong in ({"limit": -1}, {"sinceMicros": -1}):
        with pytest.raises(BadRequest, match="not negative"):
            await plane.read(kinds.CONFIG_MAP, "settings", **wrong)
    with pytest.raises(BadRequest, match="one named object"):
        await plane.read(kinds.CONFIG_MAP, "")
    plane.service = Timeline(plane.cluster.store, plane.permissions, None)
    with pytest.raises(NotFound, match="keeps no timeline"):
        await plane.read(kinds.CONFIG_MAP, "settings")
