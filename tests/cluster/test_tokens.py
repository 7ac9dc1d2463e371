"""Join tokens: once, and not for ever."""

from __future__ import annotations

import pytest

from controlplane import tokens
from pinnace import kinds
from pinnace.errors import Forbidden
from tests.support.cluster import Cluster


async def keep(cluster: Cluster, ttl: int = 3600) -> str:
    token = tokens.new()
    await cluster.store.update(lambda tx: tokens.keep(tx, token, now=cluster.clock.now(), ttl=ttl))
    return token


async def spend(cluster: Cluster, token: str) -> None:
    await cluster.store.update(lambda tx: tokens.spend(tx, token, now=cluster.clock.now()))


async def test_a_token_works_once(cluster: Cluster) -> None:
    """The second user is refused."""
    token = await keep(cluster)
    await spend(cluster, token)
    with pytest.raises(Forbidden):
        await spend(cluster, token)


async def test_a_token_expires(cluster: Cluster) -> None:
    """At its time and not before; the next token sweeps it up."""
    early, late = await keep(cluster, ttl=60), await keep(cluster, ttl=60)
    await cluster.clock.advance(60)
    await spend(cluster, early)
    await cluster.clock.advance(1)
    with pytest.raises(Forbidden):
        await spend(cluster, late)
    await keep(cluster)
    assert len(cluster.names(kinds.SECRET)) == 1


@pytest.mark.parametrize("spoil", [
    lambda token: token[:-1] + ("a" if token[-1] != "a" else "b"), lambda token: token[:7], lambda token: "",
    lambda token: token.upper() + "X", lambda token: token + "\n", lambda token: "../" + token, lambda token: "é" * 23,
])  # fmt: skip
async def test_a_wrong_token_is_refused_in_the_same_words(cluster: Cluster, spoil: object) -> None:
    """Nothing says what was wrong with it, and the right one still works."""
    token = await keep(cluster)
    with pytest.raises(Forbidden) as caught:
        await spend(cluster, spoil(token))  # type: ignore[operator]
    assert str(caught.value) == "the join token is wrong, used up or expired"
    await spend(cluster, token)


async def test_the_secret_part_is_not_stored(cluster: Cluster) -> None:
    """A reader of the store cannot join with what it finds."""
    token = await keep(cluster)
    [row] = cluster.store.rows(kinds.SECRET)
    assert token.partition(".")[2].encode() not in row.value
    assert token.partition(".")[0].encode() in row.value
