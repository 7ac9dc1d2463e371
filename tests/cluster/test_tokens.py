"""Join tokens: once, for one node, not for ever, and whatever restarts."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import tokens
from controlplane.tokens import Joining
from pinnace import kinds
from pinnace.errors import BadRequest, Forbidden
from pinnace.wellknown import SYSTEM_NAMESPACE
from tests.support.backends import Small
from tests.support.cluster import Cluster, running

N1 = Joining("n1", "a" * 64)


async def keep(cluster: Cluster, ttl: int = 3600, node: str = "") -> str:
    token = tokens.new()
    await cluster.store.update(lambda tx: tokens.keep(tx, token, now=cluster.clock.now(), ttl=ttl, node=node))
    return token


async def keep_listed(cluster: Cluster, token: str, node: str = "") -> bool:
    """What a control plane does at start with a line of --join-tokens."""
    return await cluster.store.update(
        lambda tx: tokens.keep_listed(tx, token, now=cluster.clock.now(), ttl=tokens.DEFAULT_TTL, node=node)
    )


async def spend(cluster: Cluster, token: str, joining: Joining = N1) -> bool:
    return await cluster.store.update(lambda tx: tokens.spend(tx, token, joining, now=cluster.clock.now()))


async def test_a_token_works_once(cluster: Cluster) -> None:
    """Another host is refused, and so is the same one under another name. The very same request may be repeated."""
    token = await keep(cluster)
    assert await spend(cluster, token)
    for other in (Joining("n1", "b" * 64), Joining("n2", "a" * 64)):
        with pytest.raises(Forbidden):
            await spend(cluster, token, other)
    assert not await spend(cluster, token)


async def test_a_token_expires(cluster: Cluster) -> None:
    """At its time and not before; the next token removes it."""
    early, late = await keep(cluster, ttl=60), await keep(cluster, ttl=60)
    await cluster.clock.advance(60)
    await spend(cluster, early)
    await cluster.clock.advance(1)
    for token in (early, late):
        with pytest.raises(Forbidden):
            await spend(cluster, token)
    await keep(cluster)
    assert len(cluster.names(kinds.SECRET)) == 1


@pytest.mark.parametrize(
    ("expiry", "stays"),
    [
        (None, True), ("2023-11-14T22:13:30Z", True), ("2023-11-14T22:13:10Z", False), ("2023-11-15T02:13:30+04:00", True),
        ("soon", False), ("2023-11-14T22:13:30", False),
    ],
)  # fmt: skip
async def test_bootstrap_tokens_of_other_tools_stay_until_they_expire(
    cluster: Cluster, expiry: str | None, stays: bool
) -> None:
    """Their times are RFC 3339 with a zone, and one without a time never expires. The virtual clock shows 22:13:20."""
    await keep(cluster)

    def fn(tx: Any) -> None:
        secret = tx.list(kinds.SECRET, SYSTEM_NAMESPACE)[0]
        secret.metadata.name = "bootstrap-token-abcdef"
        del secret.data["expires-at"]
        if expiry is not None:
            secret.data["expires-at"] = expiry.encode()
        tx.put(kinds.SECRET, secret)

    await cluster.store.update(fn)
    await keep(cluster)
    assert ("bootstrap-token-abcdef" in cluster.names(kinds.SECRET)) is stays


async def test_many_expired_tokens_are_deleted_in_several_transactions() -> None:
    """As small as etcd's. Each new token examines some of the others, so that its cost does not grow with them."""
    async with running(backend=Small()) as cluster:
        for _ in range(120):
            await keep(cluster, ttl=60)
        await cluster.clock.advance(61)
        for most in (71, 23, 6):
            await keep(cluster)
            assert len(cluster.names(kinds.SECRET)) <= most


async def test_a_bound_token_is_for_its_node_only(cluster: Cluster) -> None:
    """A refused use does not use it up."""
    token = await keep(cluster, node="n1")
    with pytest.raises(Forbidden, match="another node name"):
        await spend(cluster, token, Joining("n2", "a" * 64))
    assert await spend(cluster, token)


@pytest.mark.parametrize("spoil", [
    lambda token: token[:-1] + ("a" if token[-1] != "a" else "b"), lambda token: token[:7], lambda token: "",
    lambda token: token.upper() + "X", lambda token: token + "\n", lambda token: "../" + token, lambda token: "é" * 23,
])  # fmt: skip
async def test_a_wrong_token_is_refused_in_the_same_words(cluster: Cluster, spoil: Any) -> None:
    """Nothing says what was wrong with it, and the right one still works."""
    token = await keep(cluster)
    with pytest.raises(Forbidden) as caught:
        await spend(cluster, spoil(token))
    assert str(caught.value) == "the join token is wrong, used up or expired"
    await spend(cluster, token)


async def test_another_secret_of_that_name_is_no_token(cluster: Cluster) -> None:
    """Also when it holds what a token holds."""
    token = await keep(cluster)
    found = cluster.get(kinds.SECRET, f"bootstrap-token-{token[:6]}", namespace="kube-system")
    found.type = "Opaque"
    await cluster.store.update(lambda tx: tx.put(kinds.SECRET, found))
    with pytest.raises(Forbidden):
        await spend(cluster, token)


@pytest.mark.parametrize("expiry", [b"", b"nan", b"inf", b"1e99", b"-1", b"9" * 40])
async def test_an_expiry_that_is_no_time_is_past(cluster: Cluster, expiry: bytes) -> None:
    """A Secret may be edited."""
    token = await keep(cluster)

    def edit(found: Any) -> None:
        found.data["expires-at"] = expiry

    await cluster.change(kinds.SECRET, f"bootstrap-token-{token[:6]}", edit, namespace="kube-system")
    with pytest.raises(Forbidden):
        await spend(cluster, token)


async def test_the_secret_part_is_not_stored(cluster: Cluster) -> None:
    """A reader of the store cannot join with what it finds."""
    token = await keep(cluster)
    [row] = cluster.store.rows(kinds.SECRET)
    assert token.partition(".")[2].encode() not in row.value
    assert token.partition(".")[0].encode() in row.value


async def test_a_listed_token_is_kept_once_for_all_starts(cluster: Cluster) -> None:
    """A restart with the same file fails on none, revives none that was used, and renews none."""
    used, unused = tokens.new(), tokens.new()
    assert [await keep_listed(cluster, token) for token in (used, unused)] == [True, True]
    await spend(cluster, used)
    for seconds in (0, 1800, 1801, 2 * tokens.DEFAULT_TTL):
        await cluster.clock.advance(seconds)
        # Any other token's creation removes those that have expired.
        await keep(cluster)
        assert [await keep_listed(cluster, token) for token in (used, unused)] == [False, False]
        with pytest.raises(Forbidden):
            await spend(cluster, used, Joining("n2", "b" * 64))
    with pytest.raises(Forbidden):
        await spend(cluster, unused)


def test_a_list_has_a_token_and_perhaps_a_node_on_each_line() -> None:
    """Comments and blank lines are skipped; an error names the line and never shows the token."""
    text = "# tokens\n\nabcdef.0123456789abcdef\nfedcba.0123456789abcdef node-1 # the first\n"
    assert list(tokens.parse_list(text)) == [("abcdef.0123456789abcdef", ""), ("fedcba.0123456789abcdef", "node-1")]
    for line in ("abcdef.0123456789abcde", "abcdef.0123456789abcdef node-1 x", "abcdef.0123456789abcdef Node_1"):
        with pytest.raises(BadRequest, match=r"line 2 is not a join token|Node_1") as caught:
            list(tokens.parse_list("\n" + line))
        assert "0123456789abcde" not in str(caught.value)


async def test_a_token_without_an_end_is_kept(cluster: Cluster) -> None:
    """Users make such Secrets by hand; one whose end is no number has expired."""
    endless, broken = await keep(cluster), await keep(cluster)
    for token, change in (
        (endless, lambda data: data.pop("expires-at")),
        (broken, lambda data: data.update({"expires-at": b"?"})),
    ):
        await cluster.change(
            kinds.SECRET, f"bootstrap-token-{token[:6]}", lambda item, change=change: change(item.data), namespace="kube-system"
        )
    await keep(cluster)
    names = cluster.names(kinds.SECRET)
    assert f"bootstrap-token-{endless[:6]}" in names
    assert f"bootstrap-token-{broken[:6]}" not in names
    assert await spend(cluster, endless)
