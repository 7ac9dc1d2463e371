"""Checks with the package kubernetes: typed and dynamic clients, watches, informers, streams, tokens, leader election."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream
from samples import NAMESPACE, WITHIN, boat, config_map, definition, run, web

GROUP = "sync.example.com"


def refused(status: int, reason: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The body of a refusal with this status and reason."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        assert (error.status, f'"reason":"{reason}"' in error.body.replace('": "', '":"')) == (status, True), error
        return str(error.body)
    raise AssertionError(f"{call.__name__} was not refused")


def eventually(check: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WITHIN
    while not check():
        assert time.monotonic() < deadline, f"not within {WITHIN} s"
        time.sleep(0.05)


def typed() -> None:
    """Create, read, replace, each kind of patch, conflicts, dry runs, pages, collections."""
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map(
        NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", labels={"of": "typed"}), data={"k": "1"})
    )
    assert (made.kind, made.metadata.namespace) == ("ConfigMap", NAMESPACE)
    refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, config_map("a"))
    core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"j": "x", "k": None}})
    core.patch_namespaced_config_map("a", NAMESPACE, [{"op": "add", "path": "/data/l", "value": "y"}])
    assert core.read_namespaced_config_map("a", NAMESPACE).data == {"j": "x", "l": "y"}
    refused(409, "Conflict", core.replace_namespaced_config_map, "a", NAMESPACE, made)
    made = core.read_namespaced_config_map("a", NAMESPACE)
    made.data = {"k": "2"}
    assert core.replace_namespaced_config_map("a", NAMESPACE, made).data == {"k": "2"}
    core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All")
    refused(404, "NotFound", core.read_namespaced_config_map, "dry", NAMESPACE)
    refused(422, "Invalid", core.create_namespaced_config_map, NAMESPACE, config_map("Not_A_Name"))
    for name in ("b", "c", "d"):
        core.create_namespaced_config_map(NAMESPACE, config_map(name))
    first = core.list_namespaced_config_map(NAMESPACE, limit=2)
    rest = core.list_namespaced_config_map(NAMESPACE, limit=2, _continue=first.metadata._continue)
    assert [item.metadata.name for item in (*first.items, *rest.items)][:4] == ["a", "b", "c", "d"]
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="of=typed")
    assert "a" not in [item.metadata.name for item in core.list_namespaced_config_map(NAMESPACE).items]
    pending = core.delete_namespaced_config_map("b", NAMESPACE, body=client.V1DeleteOptions(propagation_policy="Foreground"))
    assert pending["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert core.delete_namespaced_config_map("c", NAMESPACE)["status"] == "Success"
    eventually(lambda: [item.metadata.name for item in core.list_namespaced_config_map(NAMESPACE).items][:1] == ["d"])


def owners() -> None:
    """Server-side apply through the typed client: conflicts, force, and the owners in managedFields."""
    core = client.CoreV1Api()

    def apply(manager: str, force: bool = False, **data: str) -> Any:
        return core.patch_namespaced_config_map(
            "owned", NAMESPACE, config_map("owned", **data), field_manager=manager, force=force,
            _content_type="application/apply-patch+yaml",
        )  # fmt: skip

    apply("one", a="1", b="1")
    assert ".data.a" in refused(409, "Conflict", apply, "two", a="2")
    assert apply("two", force=True, a="2").data == {"a": "2", "b": "1"}
    found = apply("one")
    assert found.data == {"a": "2"}
    assert "two" in [entry.manager for entry in found.metadata.managed_fields]


def pods() -> None:
    """A pod to Ready, its logs, exec with input and an exit code, a forwarded port, a strategic patch, eviction."""
    core = client.CoreV1Api()
    utils.create_from_dict(client.ApiClient(), web())
    ready(core, "web")
    logged = core.read_namespaced_pod_log("web", NAMESPACE)
    assert logged == "started\n", logged
    followed = watch.Watch().stream(core.read_namespaced_pod_log, "web", NAMESPACE, follow=True)
    assert next(iter(followed)) == "started"
    executes(core)
    forwards(core)
    proxies(core)
    core.patch_namespaced_pod("web", NAMESPACE, {"spec": {"containers": [{"name": "main", "image": "busybox:latest"}]}})
    found = core.read_namespaced_pod("web", NAMESPACE)
    assert [(item.image, len(item.command)) for item in found.spec.containers] == [("busybox:latest", 3)]
    body = client.V1Eviction(metadata=client.V1ObjectMeta(name="web"))
    core.create_namespaced_pod_eviction("web", NAMESPACE, body)
    eventually(lambda: not core.list_namespaced_pod(NAMESPACE, field_selector="metadata.name=web").items)


def ready(core: client.CoreV1Api, name: str) -> None:
    events = watch.Watch()
    for event in events.stream(
        core.list_namespaced_pod, NAMESPACE, field_selector=f"metadata.name={name}", timeout_seconds=WITHIN
    ):  # fmt: skip
        conditions = {item.type: item.status for item in event["object"].status.conditions or ()}
        if conditions.get("Ready") == "True":
            events.stop()
            return
    raise AssertionError("the pod is not Ready")


def executes(core: client.CoreV1Api) -> None:
    connect = core.connect_get_namespaced_pod_exec
    said = stream(connect, "web", NAMESPACE, command=["echo", "a b"], stdout=True, stderr=True, stdin=False, tty=False)
    assert said == "a b\n", said
    command = ["sh", "-c", "read line; echo got $line; echo bad >&2; exit 3"]
    peer = stream(
        connect, "web", NAMESPACE, command=command, container="main", stdin=True, stdout=True, stderr=True, tty=False,
        _preload_content=False,
    )  # fmt: skip
    peer.write_stdin("words\n")
    peer.run_forever(timeout=WITHIN)
    assert (peer.read_stdout(), peer.read_stderr(), peer.returncode) == ("got words\n", "bad\n", 3)
    terminal = stream(
        connect, "web", NAMESPACE, command=["sh", "-c", "sleep 0.5; stty size"], stdin=True, stdout=True, stderr=False, tty=True,
        _preload_content=False,
    )  # fmt: skip
    terminal.write_channel(4, '{"Width": 61, "Height": 17}')
    terminal.run_forever(timeout=WITHIN)
    assert "17 61" in terminal.read_stdout()


def forwards(core: client.CoreV1Api) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, "web", NAMESPACE, ports="8080")
    peer: socket.socket = forward.socket(8080)
    peer.settimeout(WITHIN)
    peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
    received = b""
    while piece := peer.recv(4096):
        received += piece
    assert received.endswith(b"hello\n"), received
    assert forward.error(8080) is None


def proxies(core: client.CoreV1Api) -> None:
    """A page of the pod, and the health of its node's agent."""
    assert core.connect_get_namespaced_pod_proxy_with_path("web:8080", NAMESPACE, "index.html") == "hello\n"
    node = core.read_namespaced_pod("web", NAMESPACE).spec.node_name
    assert core.connect_get_node_proxy_with_path(node, "healthz") == "ok"


def watches() -> None:
    """A watch from a list on, resumed at a bookmark's revision; one that is too old says so."""
    core = client.CoreV1Api()
    core.create_namespaced_config_map(NAMESPACE, config_map("a", k="1"))
    found = core.list_namespaced_config_map(NAMESPACE)
    core.create_namespaced_config_map(NAMESPACE, config_map("b"))
    core.patch_namespaced_config_map("b", NAMESPACE, {"data": {"k": "2"}})
    core.delete_namespaced_config_map("b", NAMESPACE)
    events = watch.Watch()
    named = {"resource_version": found.metadata.resource_version, "timeout_seconds": WITHIN, "allow_watch_bookmarks": True}
    seen = []
    for event in events.stream(core.list_namespaced_config_map, NAMESPACE, **named):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            events.stop()
    assert seen == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")], seen
    again = core.list_namespaced_config_map(NAMESPACE, watch=True, timeout_seconds=1, _preload_content=False)
    assert b'"type":"ADDED"' in again.data.replace(b'": "', b'":"')
    assert list(watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, resource_version=events.resource_version,
                                     timeout_seconds=1)) == []  # fmt: skip


def informs() -> None:
    """The library's informer: a cache that follows, by list and watch."""
    core = client.CoreV1Api()
    core.create_namespaced_config_map(NAMESPACE, config_map("early"))
    seen: list[tuple[str, str]] = []
    informer = SharedInformer(core.list_namespaced_config_map, namespace=NAMESPACE)
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(kind, lambda found, kind=kind: seen.append((kind, found.metadata.name)))
    informer.start()
    eventually(lambda: ("ADDED", "early") in seen)
    core.create_namespaced_config_map(NAMESPACE, config_map("late"))
    eventually(lambda: ("ADDED", "late") in seen)
    core.patch_namespaced_config_map("late", NAMESPACE, {"data": {"k": "2"}})
    core.delete_namespaced_config_map("late", NAMESPACE)
    eventually(lambda: ("DELETED", "late") in seen)
    assert ("MODIFIED", "late") in seen
    assert "late" not in [item.metadata.name for item in informer.cache.list()]
    informer.stop()


def untyped() -> None:
    """The dynamic client from discovery on: built-in and custom kinds, apply, status, watch."""
    dyn = dynamic.DynamicClient(client.ApiClient())
    definitions = dyn.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=definition(GROUP))
    eventually(lambda: established(definitions.get(name=f"boats.{GROUP}")))
    dyn.resources.invalidate_cache()
    boats = dyn.resources.get(api_version=f"{GROUP}/v1", kind="Boat")
    assert boats.create(body=boat(GROUP), namespace=NAMESPACE).spec.oars == 8
    patched = boats.patch(
        name="pinnace", namespace=NAMESPACE, body={"spec": {"oars": 9}}, content_type="application/merge-patch+json"
    )
    assert patched.spec.oars == 9
    boats.status.patch(
        name="pinnace", namespace=NAMESPACE, body={"status": {"sails": 2}}, content_type="application/merge-patch+json"
    )
    applied = boats.server_side_apply(
        namespace=NAMESPACE, name="pinnace", body=boat(GROUP, oars=10), field_manager="me", force_conflicts=True
    )
    assert (applied.spec.oars, applied.status.sails) == (10, 2)
    refused(415, "UnsupportedMediaType", boats.patch, name="pinnace", namespace=NAMESPACE, body={"spec": {"oars": 1}})
    refused(422, "Invalid", boats.create, body=boat(GROUP, "bad", oars=0), namespace=NAMESPACE)
    for event in boats.watch(namespace=NAMESPACE, timeout=WITHIN):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "pinnace")
        break
    assert [item.metadata.name for item in boats.get(namespace=NAMESPACE).items] == ["pinnace"]
    nodes = dyn.resources.get(api_version="v1", kind="Node")
    assert len(nodes.get().items) == 2
    custom_objects()
    boats.delete(name="pinnace", namespace=NAMESPACE)
    definitions.delete(name=f"boats.{GROUP}")


def established(found: Any) -> bool:
    conditions = found.to_dict().get("status", {}).get("conditions", [])
    return ("Established", "True") in [(item["type"], item["status"]) for item in conditions]


def custom_objects() -> None:
    """The typed client's calls for any kind, on the object that the dynamic client made."""
    api = client.CustomObjectsApi()
    place = (GROUP, "v1", NAMESPACE, "boats")
    found = api.get_namespaced_custom_object(*place, "pinnace")
    found["spec"]["oars"] = 11
    assert api.replace_namespaced_custom_object(*place, "pinnace", found)["spec"]["oars"] == 11
    patched = api.patch_namespaced_custom_object_status(*place, "pinnace", {"status": {"sails": 3}})
    assert patched["status"]["sails"] == 3
    assert len(api.list_cluster_custom_object(GROUP, "v1", "boats")["items"]) == 1


def access() -> None:
    """What discovery and reviews say, and a service account's token as the only credential."""
    assert client.VersionApi().get_code().major == "1"
    assert "rbac.authorization.k8s.io" in [group.name for group in client.ApisApi().get_api_versions().groups]
    core = client.CoreV1Api()
    assert "pods/exec" in [item.name for item in core.get_api_resources().resources]
    wanted = client.V1ResourceAttributes(verb="delete", resource="pods", namespace=NAMESPACE)
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=wanted))
    assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "robot"}})
    request = {"spec": {"audiences": [], "expirationSeconds": 600}}
    token = core.create_namespaced_service_account_token("robot", NAMESPACE, request).status.token
    robot = bearer(token)
    assert "cannot list resource" in refused(403, "Forbidden", robot.list_namespaced_pod, NAMESPACE)
    rule = client.V1PolicyRule(api_groups=[""], resources=["pods"], verbs=["list"])
    rbac = client.RbacAuthorizationV1Api()
    rbac.create_namespaced_role(NAMESPACE, client.V1Role(metadata=client.V1ObjectMeta(name="r"), rules=[rule]))
    binding = client.V1RoleBinding(
        metadata=client.V1ObjectMeta(name="r"),
        role_ref=client.V1RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="r"),
        subjects=[client.RbacV1Subject(kind="ServiceAccount", name="robot", namespace=NAMESPACE)],
    )
    rbac.create_namespaced_role_binding(NAMESPACE, binding)
    eventually(lambda: robot.list_namespaced_pod(NAMESPACE).items == [])
    refused(401, "Unauthorized", bearer("nonsense").list_namespaced_pod, NAMESPACE)


def bearer(token: str) -> client.CoreV1Api:
    known = client.Configuration.get_default_copy()
    mine = client.Configuration(host=known.host, api_key={"authorization": token}, api_key_prefix={"authorization": "Bearer"})
    mine.ssl_ca_cert = known.ssl_ca_cert
    return client.CoreV1Api(client.ApiClient(mine))


def strict_tls() -> None:
    """Python 3.13 verifies certificates strictly (RFC 5280) by default; earlier ones are told to here."""
    known = client.Configuration.get_default_copy()
    context = ssl.create_default_context(cafile=known.ssl_ca_cert)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(known.cert_file, known.key_file)
    host, _, port = known.host.removeprefix("https://").rpartition(":")
    for name in (host, "localhost"):
        with (
            socket.create_connection((host, int(port)), WITHIN) as plain,
            context.wrap_socket(plain, server_hostname=name) as peer,
        ):
            assert peer.version() in ("TLSv1.2", "TLSv1.3")


def election() -> None:
    """Two candidates for one Lease: the second leads only once the first does not renew any more."""
    leads: list[str] = []

    def campaign(name: str, work: Callable[[], None]) -> threading.Thread:
        lock = LeaseLock("boss", NAMESPACE, name)
        wanted = electionconfig.Config(
            lock, lease_duration=3, renew_deadline=2, retry_period=1.1, onstarted_leading=work, onstopped_leading=lambda: None
        )
        thread = threading.Thread(target=leaderelection.LeaderElection(wanted).run, daemon=True)
        thread.start()
        return thread

    failed = threading.Event()

    def first() -> None:
        leads.append("first")
        failed.wait(WITHIN)
        raise RuntimeError("the work has failed")

    campaign("first", first)
    eventually(lambda: leads == ["first"])
    campaign("second", lambda: leads.append("second"))
    time.sleep(3)
    assert leads == ["first"]
    failed.set()
    eventually(lambda: leads == ["first", "second"])
    lease = client.CoordinationV1Api().read_namespaced_lease("boss", NAMESPACE)
    assert lease.spec.holder_identity == "second"


if __name__ == "__main__":
    config.load_kube_config()
    run(typed, owners, pods, watches, informs, untyped, access, strict_tls, election)
