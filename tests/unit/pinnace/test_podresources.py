"""A pod's peak: containers, sidecars and init containers, and its cost."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from pinnace import podresources
from tests.support.objects import container, pod

Requests = dict[str, int]
requests = st.dictionaries(st.sampled_from(("cpu", "memory", "example.com/a")), st.integers(0, 9), max_size=3)


def peak(mains: list[Requests], inits: list[tuple[bool, Requests]], name: str) -> int:
    """The definition (KEP-753): while init container i runs, the sidecars before it run too; afterwards all that stay."""
    moments = [sum(item.get(name, 0) for item in mains) + sum(item.get(name, 0) for sidecar, item in inits if sidecar)]
    for place, (_, asked) in enumerate(inits):
        moments.append(asked.get(name, 0) + sum(item.get(name, 0) for sidecar, item in inits[:place] if sidecar))
    return max(moments)


@given(st.lists(requests, min_size=1, max_size=3), st.lists(st.tuples(st.booleans(), requests), max_size=5))
def test_the_peak_is_that_of_the_moment_which_needs_most(mains: list[Requests], inits: list[tuple[bool, Requests]]) -> None:
    """For each resource by itself."""

    def made(name: str, asked: Requests, sidecar: bool = False) -> dict[str, object]:
        rest = {"restartPolicy": "Always"} if sidecar else {}
        return container(name, requests={key: str(value) for key, value in asked.items()}, **rest)

    subject = pod(
        "web",
        *(made(f"m{place}", asked) for place, asked in enumerate(mains)),
        init=tuple(made(f"i{place}", asked, sidecar) for place, (sidecar, asked) in enumerate(inits)),
    )
    found = podresources.requests(subject.spec)
    for name in ("cpu", "memory", "example.com/a"):
        assert found.get(name, 0) == peak(mains, inits, name) * (1000 if name == "cpu" else 1)


def test_thousands_of_sidecars_with_resources_of_their_own_cost_little() -> None:
    """A pod of half a megabyte must not hold up whoever adds its requests up: time grows with its size, not its square."""
    subject = pod("web")
    for place in range(5000):
        sidecar = subject.spec.initContainers.add(name=f"s{place}", restartPolicy="Always")
        for number in range(5):
            sidecar.resources.requests[f"example.com/{place}-{number}"].string = "1"
    begun = time.process_time()
    assert len(podresources.requests(subject.spec)) == 25_000
    assert time.process_time() - begun < 10
