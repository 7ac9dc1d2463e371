"""Logs and upgrades of pods over the REST API: which paths and methods there are, and how refusals are answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.http.messages import Response
from pinnace.api.v1 import streams_pb2
from tests.support import access, objects
from tests.support.cluster import Cluster
from tests.support.rest import Rest

Frame = streams_pb2.Frame
WEB = "/api/v1/namespaces/default/pods/web"
UPGRADE = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x_stream_protocol_version": "v4.channel.k8s.io"}


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    await cluster.create(objects.pod("web", "main", "side", nodeName="n1"))
    return Rest(cluster)


async def test_a_log_is_text_in_chunks(rest: Rest) -> None:
    """As the node sends it, of the container that the query names."""
    rest.router.logs = [Frame(stdout=b"one\n"), Frame(stdout=b"two\n")]
    answer = await rest.respond("GET", f"{WEB}/log?container=side&tailLines=2&timestamps=true")
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
    assert not isinstance(answer.body, bytes)
    assert b"".join([piece async for piece in answer.body]) == b"one\ntwo\n"
    node, opening = rest.router.openings[0]
    assert (node, opening.container, opening.logs.tailLines, opening.logs.timestamps) == ("n1", "side", 2, True)
    # A client may take an hour over a piece: `kubectl logs | less`.
    assert answer.patience == 3600


async def test_a_log_that_is_not_read_is_closed(rest: Rest) -> None:
    """A HEAD request, or a client that left: the stream to the node ends with the body."""
    rest.router.logs = [Frame(stdout=b"one\n")] * 1000
    answer = await rest.respond("GET", f"{WEB}/log?follow=1")
    assert not isinstance(answer.body, bytes)
    assert rest.router.open == 1
    await answer.body.aclose()
    assert (rest.router.open, rest.router.withdrawn) == (0, 1)


async def test_refusals_are_statuses(rest: Rest) -> None:
    """Of the node, of the options, and of the API."""
    rest.router.logs = [Frame(exit=streams_pb2.Exit(code=1, message="waiting to start", reason="BadRequest")), None]
    for method, path, code, reason in (
        ("GET", f"{WEB}/log", 400, "BadRequest"),
        ("GET", f"{WEB}/log?tailLines=-1", 422, "Invalid"),
        ("GET", f"{WEB}/log?container=nope", 404, "NotFound"),
        ("GET", "/api/v1/namespaces/default/pods/gone/log", 404, "NotFound"),
        ("POST", f"{WEB}/log", 405, "MethodNotAllowed"),
        ("GET", f"{WEB}/exec?command=ls", 400, "BadRequest"),
        ("POST", f"{WEB}/portforward", 400, "BadRequest"),
        ("DELETE", f"{WEB}/exec", 405, "MethodNotAllowed"),
        ("GET", f"{WEB}/nonsense", 404, "NotFound"),
    ):
        status, found = await rest.ask(method, path)
        assert (path, status, found["reason"]) == (path, code, reason)


async def test_an_upgrade_is_agreed_on_before_the_connection_is_handed_over(rest: Rest) -> None:
    """The same request, refused and accepted."""
    for path in (f"{WEB}/exec?command=ls", f"{WEB}/attach"):
        assert not isinstance(await rest.answer("POST", path, **UPGRADE), Response)
    answer = await rest.answer("POST", f"{WEB}/exec?command=ls&container=nope", **UPGRADE)
    assert isinstance(answer, Response)
    assert isinstance(answer.body, bytes)
    assert "container nope is not valid for pod web" in json.loads(answer.body)["message"]


async def test_discovery_has_the_subresources(rest: Rest) -> None:
    """With the methods that WebSocket and SPDY begin with."""
    found = await rest.get("/api/v1")
    listed: dict[str, Any] = {item["name"]: item["verbs"] for item in found["resources"]}
    assert listed["pods/exec"] == listed["pods/attach"] == listed["pods/portforward"] == ["create", "get"]
    assert listed["pods/log"] == ["get"]


WEBSOCKET = {
    "connection": "Upgrade", "upgrade": "websocket", "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec_websocket_version": "13", "sec_websocket_protocol": "v5.channel.k8s.io",
}  # fmt: skip


@pytest.mark.parametrize(("verbs", "may_exec"), [("get list watch", False), ("get create", True)])
async def test_a_right_to_read_is_none_to_run_a_command(cluster: Cluster, verbs: str, may_exec: bool) -> None:
    """A WebSocket begins with GET, and needs `create` like SPDY, which begins with POST; a log needs `get`."""
    await cluster.create(objects.pod("web", nodeName="n1"))
    await cluster.create(access.role("some", access.rule(verbs, "pods/log pods/exec pods/attach pods/portforward")))
    await cluster.create(access.role_binding("some", "Role/some", "User:jane"))
    rest = Rest(cluster, access.user("jane"))
    assert (await rest.respond("GET", f"{WEB}/log")).status == 200
    for subresource in ("exec?command=ls", "attach", "portforward?ports=80"):
        answer = await rest.answer("GET", f"{WEB}/{subresource}", **WEBSOCKET)
        assert isinstance(answer, Response) is not may_exec
        if isinstance(answer, Response):
            assert answer.status == 403
            assert b"cannot create resource" in answer.body  # type: ignore[operator]
