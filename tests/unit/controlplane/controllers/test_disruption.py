"""States of zones and the rate of evictions, by Kubernetes' rules."""

from __future__ import annotations

import pytest

from controlplane.controllers.disruption import Disruption, EvictionRates, RateLimiter, Zones, state_of

RATES = EvictionRates()


@pytest.mark.parametrize(
    ("ready", "not_ready", "state"),
    [
        (0, 0, Disruption.NORMAL), (3, 0, Disruption.NORMAL), (0, 1, Disruption.FULL), (0, 9, Disruption.FULL),
        (1, 2, Disruption.NORMAL), (2, 3, Disruption.PARTIAL), (46, 54, Disruption.NORMAL), (45, 55, Disruption.PARTIAL),
    ],
)  # fmt: skip
def test_a_zone_is_disrupted_when_most_of_its_nodes_failed(ready: int, not_ready: int, state: Disruption) -> None:
    """From 55 percent, and more than two."""
    assert state_of(ready, not_ready, RATES.threshold) is state


def zones(**counts: tuple[int, int]) -> Zones:
    """(ready, not ready) of each zone."""
    return Zones(
        [
            (zone, ready)
            for zone, pair in counts.items()
            for ready, n in zip((True, False), pair, strict=True)
            for _ in range(n)
        ],
        RATES,
    )


def test_evictions_slow_down_in_large_disrupted_zones_and_stop_in_small_ones() -> None:
    """Large is more than 50 nodes."""
    found = zones(well=(9, 1), small=(10, 40), large=(10, 50))
    assert [found.rate(zone) for zone in ("well", "small", "large")] == [0.1, 0.0, 0.01]


def test_a_zone_that_fails_as_a_whole_is_evicted_while_others_work() -> None:
    """Its pods have places to go to; without any ready node nothing is evicted anywhere."""
    assert zones(dead=(0, 9), well=(3, 0)).rate("dead") == 0.1
    dead = zones(dead=(0, 9), other=(0, 1))
    assert (dead.all_failed, dead.rate("dead"), dead.rate("other")) == (True, 0.0, 0.0)


def test_grants_come_at_the_rate_and_stay() -> None:
    """One token; a name that asks again, as a transaction that runs twice does, takes no second one."""
    limiter = RateLimiter()
    assert limiter.grant("a", 0.0, 0.1) == 0.0
    assert limiter.grant("a", 0.0, 0.1) == 0.0
    assert limiter.grant("b", 1.0, 0.1) == pytest.approx(9.0)
    assert limiter.grant("c", 1.0, 0.1) == pytest.approx(19.0)
    assert limiter.grant("b", 10.0, 0.1) == 0.0
    limiter.release("a")
    assert limiter.grant("a", 10.0, 0.1) > 0
