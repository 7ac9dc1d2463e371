"""Joining and renewing: who becomes which node, and which certificates are good for how long."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane import conditions, tokens
from controlplane.access import nodeidentity
from controlplane.access.authenticator import Authenticator
from controlplane.access.identity import of_certificate
from controlplane.access.joining import Joining, Terms
from controlplane.controllers.podgc import QUARANTINE
from controlplane.http.messages import Request
from controlplane.store.backend import Txn, Write
from controlplane.store.memory import MemoryBackend
from pinnace import csr, kinds, pki
from pinnace.clock import VirtualClock, settle
from pinnace.errors import AlreadyExists, ApiError, BadRequest, Conflict, Forbidden, Invalid, Unauthenticated
from tests.support.cluster import GRACE, Cluster, running
from tests.support.objects import pod

LIFETIME, WINDOW = 600.0, 1200.0
CA = pki.new_ca(VirtualClock().now())


class Door:
    """The join endpoint of a cluster, and the check of each call."""

    def __init__(self, cluster: Cluster) -> None:
        terms = Terms(LIFETIME, WINDOW, "192.0.2.1:6443")
        self.cluster = cluster
        self.routes = Joining(cluster.store, cluster.clock, cluster.ids, ca=CA, terms=terms, cidrs=cluster.cidrs).routes()
        self.authenticator = Authenticator(cluster.store, cluster.clock)

    async def ask(self, path: str, **body: str) -> bytes:
        """The certificate in the answer to a request."""
        answer = await self.routes[path].respond(Request("POST", path, json.dumps(body).encode()))
        return str(json.loads(answer.body)["certificate"]).encode()

    async def token(self, node: str = "") -> str:
        made = tokens.new()
        await self.cluster.store.update(lambda tx: tokens.keep(tx, made, now=self.cluster.clock.now(), ttl=3600, node=node))
        return made

    async def join(self, node: str, token: str = "", key: bytes = b"") -> pki.Pair:
        """Join with a token, or with one for any new node."""
        request = csr.of(key or pki.key_pem(pki.new_key()), pki.NODE_PREFIX + node, (pki.NODES,))
        signed = await self.ask("/join", node=node, token=token or await self.token(), csr=request.certificate.decode())
        return pki.Pair(signed, request.key)

    async def renew(self, old: pki.Pair, key: bytes = b"", *, node: str = "n1", signer: bytes = b"") -> pki.Pair:
        """At the join endpoint, with proof of the old key."""
        request = csr.of(key or pki.key_pem(pki.new_key()), pki.NODE_PREFIX + node, (pki.NODES,))
        proof = base64.b64encode(csr.prove(signer or old.key, request.certificate)).decode()
        body = {"certificate": old.certificate.decode(), "csr": request.certificate.decode(), "proof": proof}
        return pki.Pair(await self.ask("/renew", **body), request.key)

    def good(self, pair: pki.Pair) -> bool:
        """Whether a call with the certificate is accepted now."""
        try:
            self.authenticator.of_certificate(pair.certificate)
        except Unauthenticated:
            return False
        return True


@pytest.fixture
def door(cluster: Cluster) -> Door:
    return Door(cluster)


async def ready(cluster: Cluster, name: str = "n1") -> None:
    """The agent of a node that has joined reports for the first time."""
    await cluster.join(name)


async def test_a_host_becomes_a_node(door: Door) -> None:
    """With a certificate for exactly that, and a Node that is not Ready before its agent has reported."""
    pair = await door.join("n1")
    identity = of_certificate(pair.certificate)
    assert (identity.user, identity.groups, identity.node) == ("system:node:n1", ("system:nodes",), "n1")
    assert identity.uid
    assert identity.expires == door.cluster.clock.now() + LIFETIME
    node = door.cluster.get(kinds.NODE, "n1")
    assert node.spec.podCIDR == "10.244.0.0/24"
    found = conditions.find(node.status, "Ready")
    assert (found.status, found.reason) == ("Unknown", "NodeStatusNeverUpdated")
    assert door.good(pair)


@pytest.mark.parametrize("state", ["Ready", "silent", "joined and never started", "created by hand"])
async def test_a_token_takes_over_no_existing_node(door: Door, state: str) -> None:
    """The attack: its holder would receive that node's pods and Secrets. The token is not used up by the attempt."""
    token, pair = await door.token(), None
    if state == "created by hand":
        await door.cluster.create(kinds.NODE.cls(metadata={"name": "n1"}))
    else:
        pair = await door.join("n1")
    if state in ("Ready", "silent"):
        await ready(door.cluster)
    if state == "silent":
        await door.cluster.advance(GRACE + 1)
    with pytest.raises(AlreadyExists, match="kctl node join-command n1"):
        await door.join("n1", token)
    assert pair is None or door.good(pair)
    assert door.good(await door.join("n2", token))


@pytest.mark.parametrize("state", ["removed", "not there yet", "removed, with a finished pod"])
async def test_a_token_takes_no_name_that_pods_have(door: Door, state: str) -> None:
    """The attack: its holder's node would receive them and their Secrets. Neither is the token used up by it, nor a pod CIDR,
    and a token for that node is good."""
    cluster, token = door.cluster, await door.token()
    if state == "not there yet":
        await cluster.create(pod("web", nodeName="n1"))
    else:
        await door.join("n1")
        await ready(cluster)
        await cluster.create(pod("web"))
        await cluster.advance(1)
    if state == "removed, with a finished pod":
        await cluster.change(kinds.POD, "web", lambda found: setattr(found.status, "phase", "Succeeded"))
    assert cluster.get(kinds.POD, "web").spec.nodeName == "n1"
    if state != "not there yet":
        await cluster.delete(kinds.NODE, "n1")
    with pytest.raises(AlreadyExists, match=r'pods are assigned to node "n1", such as default/web.*kctl node join-command n1'):
        await door.join("n1", token)
    assert cluster.get(kinds.NODE, "n1") is None
    assert door.good(await door.join("n2", token))
    assert cluster.get(kinds.NODE, "n2").spec.podCIDR == "10.244.0.0/24"
    assert door.good(await door.join("n1", await door.token("n1")))


async def test_a_name_is_free_once_no_pod_has_it(door: Door) -> None:
    """The pods of a node that was removed are deleted after a while."""
    await door.join("n1")
    await ready(door.cluster)
    await door.cluster.create(pod("web"))
    await door.cluster.advance(1)
    await door.cluster.delete(kinds.NODE, "n1")
    await door.cluster.advance(QUARANTINE + 30)
    assert door.good(await door.join("n1"))


async def test_a_bound_token_never_takes_over_a_ready_node(door: Door) -> None:
    """Its agent lives; a leaked token is no way to replace it."""
    pair = await door.join("n1")
    await ready(door.cluster)
    token = await door.token("n1")
    with pytest.raises(Conflict, match="is Ready"):
        await door.join("n1", token)
    assert door.good(pair)


async def test_a_bound_token_brings_back_a_host_that_was_set_up_anew(door: Door) -> None:
    """The Node stays as it is, with its taints and pods, and the certificates from before are revoked."""
    old = await door.join("n1")
    await ready(door.cluster)
    await door.cluster.change(kinds.NODE, "n1", lambda found: found.spec.taints.add(key="mine", effect="NoSchedule"))
    await door.cluster.create(pod("web", tolerations=[{"operator": "Exists"}]))
    await door.cluster.advance(GRACE + 1)
    before = door.cluster.get(kinds.NODE, "n1")
    new = await door.join("n1", await door.token("n1"))
    node = door.cluster.get(kinds.NODE, "n1")
    assert (node.metadata.uid, node.spec.podCIDR) == (before.metadata.uid, before.spec.podCIDR)
    assert "mine" in {taint.key for taint in node.spec.taints}
    assert door.cluster.get(kinds.POD, "web").spec.nodeName == "n1"
    assert (door.good(old), door.good(new)) == (False, True)


async def test_a_node_created_by_hand_is_joined_with_a_token_for_it(door: Door) -> None:
    """Labels and taints can be there before the host is; the pod CIDR is given with the join."""
    await door.cluster.create(kinds.NODE.cls(metadata={"name": "n1", "labels": {"tier": "web"}}))
    pair = await door.join("n1", await door.token("n1"))
    node = door.cluster.get(kinds.NODE, "n1")
    assert (dict(node.metadata.labels), node.spec.podCIDR) == ({"tier": "web"}, "10.244.0.0/24")
    assert door.good(pair)


async def test_a_bound_token_is_refused_under_another_name(door: Door) -> None:
    """Nothing is made of that name."""
    token = await door.token("n1")
    with pytest.raises(Forbidden, match="another node name"):
        await door.join("n2", token)
    assert door.cluster.get(kinds.NODE, "n2") is None


async def test_of_two_hosts_with_one_name_one_joins(door: Door) -> None:
    """At the same moment, each with a good token: the other's token is not used up, and it gets no certificate."""
    pairs = [await door.token() for _ in range(8)]
    results = await asyncio.gather(*(door.join("n1", token) for token in pairs), return_exceptions=True)
    joined = [result for result in results if isinstance(result, pki.Pair)]
    assert len(joined) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 7
    assert door.good(joined[0])
    left = next(token for token, result in zip(pairs, results, strict=True) if isinstance(result, AlreadyExists))
    assert door.good(await door.join("n2", left))


class Counting(MemoryBackend):
    """Counts the transactions that conflicted."""

    conflicts = 0

    async def commit(self, txns: Any) -> Any:
        results = await super().commit(txns)
        self.conflicts += results.count(None)
        return results


async def test_joins_at_once_do_not_conflict() -> None:
    """Each reads and writes what is its own: 500 joins of different hosts once aborted 2,144 transactions."""
    async with running(backend=Counting()) as cluster:
        door, backend = Door(cluster), cluster.store.backend
        assert isinstance(backend, Counting)
        hosts = [(f"n{number}", await door.token()) for number in range(60)]
        before = backend.conflicts
        pairs = await asyncio.gather(*(door.join(name, token) for name, token in hosts))
        await asyncio.gather(*(cluster.join(name) for name, _ in hosts))
        assert all(door.good(pair) for pair in pairs)
        assert len({cluster.get(kinds.NODE, name).spec.podCIDR for name, _ in hosts}) == 60
        assert backend.conflicts == before


async def test_of_two_hosts_with_one_token_one_joins(door: Door) -> None:
    """Under whatever names."""
    token = await door.token()
    results = await asyncio.gather(*(door.join(f"n{n}", token) for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, pki.Pair) for result in results) == 1
    assert sum(isinstance(result, Forbidden) for result in results) == 7
    assert len(door.cluster.names(kinds.NODE)) == 1


async def test_a_lost_answer_can_be_asked_for_again(door: Door) -> None:
    """With the same key, which only that host has; not once the node has moved on or has been removed."""
    token, key = await door.token(), pki.key_pem(pki.new_key())
    first = await door.join("n1", token, key)
    again = await door.join("n1", token, key)
    assert of_certificate(first.certificate).uid == of_certificate(again.certificate).uid
    with pytest.raises(Forbidden):
        await door.join("n1", token)
    await door.cluster.delete(kinds.NODE, "n1")
    with pytest.raises(Forbidden):
        await door.join("n1", token, key)


async def test_a_removed_node_is_revoked_and_stays_so(door: Door) -> None:
    """Also when a Node of that name is made by hand, joins again, or the control plane starts anew."""
    old = await door.join("n1")
    await ready(door.cluster)
    await door.cluster.delete(kinds.NODE, "n1")
    assert not door.good(old)
    assert door.cluster.get(kinds.SECRET, nodeidentity.record_name("n1"), namespace="kube-system") is None
    await door.cluster.create(kinds.NODE.cls(metadata={"name": "n1"}))
    assert not door.good(old)
    new = await door.join("n1", await door.token("n1"))
    assert (door.good(old), door.good(new)) == (False, True)
    with pytest.raises(Unauthenticated):
        await door.renew(old)


async def test_a_record_that_was_put_back_revives_no_certificate() -> None:
    """The identity names the Node by UID, and a Node that is made again has another one."""
    async with running() as cluster:
        door = Door(cluster)
        old = await door.join("n1")
        record = cluster.get(kinds.SECRET, nodeidentity.record_name("n1"), namespace="kube-system")
        await cluster.delete(kinds.NODE, "n1")
        record.metadata.resourceVersion = ""
        await cluster.create(record)
        await cluster.create(kinds.NODE.cls(metadata={"name": "n1"}))
        assert not door.good(old)


async def test_revocation_and_tokens_survive_a_restart() -> None:
    """All of it is in the store."""
    backend, clock = MemoryBackend(), VirtualClock()
    async with running(backend=backend, clock=clock) as cluster:
        door = Door(cluster)
        removed, kept = await door.join("n1"), await door.join("n2")
        await cluster.delete(kinds.NODE, "n1")
        used, unused = await door.token(), await door.token("n4")
        await door.join("n3", used)
        snapshot = {row.key: row.value for kind in kinds.ALL for row in cluster.store.rows(kind)}
    async with running(backend=await _restored(snapshot), clock=clock) as cluster:
        door = Door(cluster)
        assert (door.good(removed), door.good(kept)) == (False, True)
        with pytest.raises(Forbidden):
            await door.join("n5", used)
        assert door.good(await door.join("n4", unused))


async def _restored(snapshot: dict[str, bytes]) -> MemoryBackend:
    backend = MemoryBackend()
    await backend.commit([Txn((Write(key, value),)) for key, value in snapshot.items()])
    return backend


async def test_an_expired_certificate_opens_nothing(door: Door) -> None:
    """The handshake checked it once; a call on a connection from before is refused too."""
    pair = await door.join("n1")
    await door.cluster.clock.advance(LIFETIME + 1)
    with pytest.raises(Unauthenticated, match="expired"):
        door.authenticator.of_certificate(pair.certificate)


async def test_a_node_that_was_off_renews_its_last_certificate(door: Door) -> None:
    """With proof of its key, within the window."""
    pair = await door.join("n1")
    await door.cluster.clock.advance(LIFETIME + WINDOW)
    renewed = await door.renew(pair)
    assert door.good(renewed)
    assert of_certificate(renewed.certificate).uid == of_certificate(pair.certificate).uid
    await door.cluster.clock.advance(LIFETIME + WINDOW + 1)
    with pytest.raises(Unauthenticated, match="kctl node join-command n1"):
        await door.renew(renewed)


async def test_an_old_backup_of_a_node_opens_nothing(door: Door) -> None:
    """Only the certificate that was issued last can be renewed once it has expired."""
    backup = await door.join("n1")
    current = await door.renew(backup)
    await door.cluster.clock.advance(LIFETIME + 1)
    with pytest.raises(Unauthenticated, match="a newer certificate"):
        await door.renew(backup)
    assert door.good(await door.renew(current))


async def test_a_renewal_whose_answer_was_lost_is_repeated(door: Door) -> None:
    """With the old certificate and the same new key."""
    old, key = await door.join("n1"), pki.key_pem(pki.new_key())
    await door.cluster.clock.advance(LIFETIME + 1)
    await door.renew(old, key)
    assert door.good(await door.renew(old, key))


async def test_renewal_needs_the_old_key_and_the_own_name(door: Door) -> None:
    """The certificate alone is public: it was sent over networks."""
    pair, other = await door.join("n1"), await door.join("n2")
    with pytest.raises(Unauthenticated, match="proof"):
        await door.renew(pair, signer=other.key)
    with pytest.raises(Invalid, match="must be signed and name"):
        await door.renew(pair, node="n2")


async def test_only_nodes_of_this_cluster_renew_here(door: Door) -> None:
    """Neither another CA's, nor an administrator's, nor two certificates in one text."""
    await door.join("n1")
    now = door.cluster.clock.now()
    user = ("system:node:n1", ("system:nodes",))
    for pair in (
        pki.issue(pki.new_ca(now), *user, now=now), pki.issue(CA, "kubernetes-admin", ("system:masters",), now=now),
        pki.issue(CA, *user, now=now),
    ):  # fmt: skip
        with pytest.raises(Unauthenticated, match="not a certificate of a node of this cluster"):
            await door.renew(pair)
    pair = await door.join("n3")
    with pytest.raises(Unauthenticated, match="not a certificate of a node"):
        await door.renew(pki.Pair(pair.certificate + pair.certificate, pair.key), node="n3")


async def test_the_token_is_checked_before_the_request(door: Door) -> None:
    """A stranger's request costs no cryptography, and learns nothing about names."""
    await door.join("n1")
    for node, text in (("n1", "nonsense"), ("n9", ""), ("N_9", "x")):
        with pytest.raises(Forbidden, match="wrong, used up or expired"):
            await door.ask("/join", node=node, token=tokens.new(), csr=text)


@pytest.mark.parametrize(("node", "text", "error"), [
    ("n1", "nonsense", Invalid), ("N_1", "", BadRequest), ("x" * 53, "", BadRequest), ("", "", BadRequest),
])  # fmt: skip
async def test_a_mistake_does_not_use_the_token_up(door: Door, node: str, text: str, error: type[ApiError]) -> None:
    """A broken request, or a name that is none, or has no room in a certificate."""
    token = await door.token()
    with pytest.raises(error):
        await door.ask("/join", node=node, token=token, csr=text)
    assert door.good(await door.join("n1", token))


async def test_a_request_for_another_name_or_key_is_refused(door: Door) -> None:
    """The name in the signing request is that of the node; keys are ECDSA P-256."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    token = await door.token()
    for user, groups in (("system:node:n2", ("system:nodes",)), ("kubernetes-admin", ("system:masters",)),
                         ("system:node:n1", ("system:nodes", "system:masters"))):  # fmt: skip
        with pytest.raises(Invalid, match="must be signed and name"):
            await door.ask("/join", node="n1", token=token, csr=csr.new(user, groups).certificate.decode())
    key = rsa.generate_private_key(65537, 2048)
    name = pki.subject_of("system:node:n1", ("system:nodes",))
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    with pytest.raises(Invalid, match="P-256"):
        text = request.public_bytes(serialization.Encoding.PEM).decode()
        await door.ask("/join", node="n1", token=token, csr=text)


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b"null", b'{"node": 1, "token": "x", "csr": "x"}', b'{"node": "n", "token": "\xc3\xa9", "csr": ""}',
    b"[" * 10000, b'{"node": {"a": 1}, "token": [], "csr": null}', b"\xff\xfe",
])  # fmt: skip
async def test_what_is_no_request_is_refused_in_words(door: Door, body: bytes) -> None:
    """Whatever JSON it is, if it is."""
    for path in ("/join", "/renew"):
        with pytest.raises(BadRequest, match="expected a JSON object with the strings"):
            await door.routes[path].respond(Request("POST", path, body))


async def open_call(door: Door, pair: pki.Pair) -> None:
    """A streaming call of a node that waits for ever."""

    async def responses() -> AsyncIterator[str]:
        async with door.authenticator.open(of_certificate(pair.certificate)):
            yield "open"
            await asyncio.Event().wait()

    async for _ in responses():
        pass


@pytest.mark.parametrize("how", ["removed", "joined again"])
async def test_an_open_call_of_a_revoked_node_ends_at_once(door: Door, how: str) -> None:
    """And no other node's."""
    watcher = asyncio.ensure_future(door.authenticator.run())
    calls = {name: asyncio.ensure_future(open_call(door, await door.join(name))) for name in ("n1", "n2")}
    await settle()
    if how == "removed":
        await door.cluster.delete(kinds.NODE, "n1")
    else:
        await door.join("n1", await door.token("n1"))
    await settle(100)
    assert calls["n1"].done()
    with pytest.raises(Unauthenticated, match="removed"):
        await calls["n1"]
    assert not calls["n2"].done()
    for task in (calls["n2"], watcher):
        task.cancel()


async def test_a_removal_that_the_watch_missed_ends_calls_too(door: Door) -> None:
    """A reader that fell behind looks at everything again."""
    watcher = asyncio.ensure_future(door.authenticator.run())
    call = asyncio.ensure_future(open_call(door, await door.join("n1")))
    await settle()
    for subscription in tuple(door.cluster.store.cache.current_watchers()):
        subscription.lose()
    await door.cluster.delete(kinds.NODE, "n1")
    await settle(100)
    assert call.done()
    assert isinstance(call.exception(), Unauthenticated)
    watcher.cancel()


async def test_a_node_from_before_identities_keeps_its_certificate_until_it_renews(door: Door) -> None:
    """It has no UID; removing the node or joining again revokes it like any other."""
    now = door.cluster.clock.now()
    old = pki.issue(CA, "system:node:n1", ("system:nodes",), now=now)
    await door.cluster.join("n1")
    assert door.good(old)
    identity = of_certificate(old.certificate)
    uid = await door.cluster.store.update(
        lambda tx: nodeidentity.reissue(tx, identity, key_hash="x", uid="fresh", now=door.cluster.clock.now())
    )
    assert uid == "fresh"
    assert not door.good(old)
    await door.cluster.delete(kinds.NODE, "n1")
    assert not door.good(old)


def test_names_that_fit_in_a_certificate() -> None:
    """52 characters and the prefix are the 64 of a common name."""
    assert of_certificate(pki.issue(CA, pki.NODE_PREFIX + "x" * pki.MAX_NODE_NAME, (), now=0.0).certificate)
    with pytest.raises(ValueError):
        pki.issue(CA, pki.NODE_PREFIX + "x" * (pki.MAX_NODE_NAME + 1), (), now=0.0)
