"""Checks with the package kubernetes_asyncio: the typed and the dynamic client, watches, streams, leader election."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kubernetes_asyncio import client, config, dynamic, watch
from kubernetes_asyncio.leaderelection import electionconfig, leaderelection
from kubernetes_asyncio.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes_asyncio.stream import WsApiClient
from samples import NAMESPACE, WITHIN, boat, config_map, definition, run, web

GROUP = "asyncio.example.com"


def checked(check: Callable[[client.ApiClient], Awaitable[None]]) -> Callable[[], None]:
    """A check with a client, in a loop of its own, and a deadline."""

    async def within() -> None:
        await config.load_kube_config()
        async with asyncio.timeout(2 * WITHIN), client.ApiClient() as api:
            await check(api)

    def whole() -> None:
        asyncio.run(within())

    whole.__name__ = check.__name__
    return whole


async def refused(status: int, call: Awaitable[Any]) -> None:
    try:
        await call
    except client.ApiException as error:
        assert error.status == status, error
    else:
        raise AssertionError("not refused")


@checked
async def typed(api: client.ApiClient) -> None:
    """Objects from creation to deletion, and what is refused."""
    core = client.CoreV1Api(api)
    made = await core.create_namespaced_config_map(NAMESPACE, config_map("a", k="1"))
    await refused(409, core.create_namespaced_config_map(NAMESPACE, config_map("a")))
    await core.patch_namespaced_config_map("a", NAMESPACE, [{"op": "add", "path": "/data/j", "value": "x"}])
    await core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"k": None}}, _content_type="application/merge-patch+json")
    await refused(409, core.replace_namespaced_config_map("a", NAMESPACE, made))
    assert (await core.read_namespaced_config_map("a", NAMESPACE)).data == {"j": "x"}
    await core.patch_namespaced_config_map(
        "b", NAMESPACE, config_map("b", k="1"), field_manager="me", force=True, _content_type="application/apply-patch+yaml"
    )
    assert (await core.delete_namespaced_config_map("b", NAMESPACE)).status == "Success"
    await refused(404, core.read_namespaced_config_map("b", NAMESPACE))


@checked
async def pods(api: client.ApiClient) -> None:
    """A pod to Ready by a watch, its logs, a command with its exit code, deletion by a watch."""
    core = client.CoreV1Api(api)
    await core.create_namespaced_pod(NAMESPACE, web())
    named = {"field_selector": "metadata.name=web", "timeout_seconds": WITHIN}
    async with watch.Watch() as events:
        async for event in events.stream(core.list_namespaced_pod, NAMESPACE, **named):
            conditions = {item.type: item.status for item in event["object"].status.conditions or ()}
            if conditions.get("Ready") == "True":
                break
    assert await core.read_namespaced_pod_log("web", NAMESPACE) == "started\n"
    await executes()
    gone = await core.list_namespaced_pod(NAMESPACE)
    await core.delete_namespaced_pod("web", NAMESPACE)
    async with watch.Watch() as events:
        async for event in events.stream(
            core.list_namespaced_pod, NAMESPACE, resource_version=gone.metadata.resource_version, **named
        ):  # fmt: skip
            if event["type"] == "DELETED":
                break
        else:
            raise AssertionError("the pod was not deleted")


async def executes() -> None:
    async with WsApiClient() as sockets:
        core = client.CoreV1Api(sockets)
        streams = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
        said = await core.connect_get_namespaced_pod_exec("web", NAMESPACE, command=["echo", "a b"], **streams)
        assert said == "a b\n", said
        streams["stdin"] = True
        command = ["sh", "-c", "read line; echo got $line; exit 3"]
        peer = await core.connect_get_namespaced_pod_exec("web", NAMESPACE, command=command, _preload_content=False, **streams)
        async with peer as socket:
            await socket.send_bytes(b"\0words\n")
            received: dict[int, bytes] = {}
            async for message in socket:
                received[message.data[0]] = received.get(message.data[0], b"") + message.data[1:]
        assert received[1] == b"got words\n", received
        assert sockets.parse_error_data(received[3].decode()) == 3


@checked
async def untyped(api: client.ApiClient) -> None:
    """The dynamic client from discovery on, with a kind that it defines."""
    dyn = await dynamic.DynamicClient(api)
    definitions = await dyn.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    await dyn.create(definitions, body=definition(GROUP))
    objects = client.CustomObjectsApi(api)
    for _ in range(100):
        try:
            await objects.create_namespaced_custom_object(GROUP, "v1", NAMESPACE, "boats", boat(GROUP))
            break
        except client.ApiException as error:
            assert error.status == 404, error
            await asyncio.sleep(0.05)
    await dyn.resources.invalidate_cache()
    boats = await dyn.resources.get(api_version=f"{GROUP}/v1", kind="Boat")
    patch = {"spec": {"oars": 9}}
    found = await dyn.patch(boats, body=patch, name="pinnace", namespace=NAMESPACE, content_type="application/merge-patch+json")
    assert found.spec.oars == 9
    async for event in dyn.watch(boats, namespace=NAMESPACE, timeout=WITHIN):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "pinnace")
        break
    place = (GROUP, "v1", NAMESPACE, "boats", "pinnace")
    status = {"status": {"sails": 2}}
    found = await objects.patch_namespaced_custom_object_status(*place, status, _content_type="application/merge-patch+json")
    assert found["status"] == {"sails": 2}
    await dyn.delete(boats, "pinnace", NAMESPACE)
    await dyn.delete(definitions, f"boats.{GROUP}")


@checked
async def election(api: client.ApiClient) -> None:
    """Two candidates for one Lease: the second leads after the first has stopped."""
    leads: list[str] = []

    def campaign(name: str) -> asyncio.Task[None]:
        async def lead() -> None:
            leads.append(name)

        async def stopped() -> None:
            pass

        wanted = electionconfig.Config(LeaseLock("boss", NAMESPACE, name, api), 3, 2, 1.1, lead, stopped)
        return asyncio.create_task(leaderelection.LeaderElection(wanted).run())

    first = campaign("first")
    while leads != ["first"]:
        await asyncio.sleep(0.05)
    second = campaign("second")
    await asyncio.sleep(3.5)
    assert leads == ["first"]
    first.cancel()
    while leads != ["first", "second"]:
        await asyncio.sleep(0.05)
    lease = await client.CoordinationV1Api(api).read_namespaced_lease("boss", NAMESPACE)
    assert lease.spec.holder_identity == "second"
    second.cancel()


if __name__ == "__main__":
    run(typed, pods, untyped, election)
