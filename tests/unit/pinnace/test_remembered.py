"""Results are found by the bytes of a message, and their number is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, kinds
from pinnace.admission import admit
from pinnace.errors import Invalid
from pinnace.remembered import MAX_RESULTS, MAX_SIZE, Remembered


def namespace(name: str) -> Any:
    return codec.decode(kinds.NAMESPACE.cls, {"metadata": {"name": name}})


class Counting:
    """A function that counts its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, message: Any) -> str:
        self.calls.append(message.metadata.name)
        return f"name {message.metadata.name}"


def test_equal_messages_share_a_call() -> None:
    """A changed message is another one, also when it is the same object."""
    function = Counting()
    remembered = Remembered(function)
    message = namespace("a")
    assert remembered(message) == remembered(namespace("a")) == "name a"
    message.metadata.name = "b"
    assert remembered(message) == "name b"
    assert function.calls == ["a", "b"]


def test_only_the_last_and_small_ones_are_remembered() -> None:
    """The oldest result goes when there are too many; a large message costs a call each time."""
    function = Counting()
    remembered = Remembered(function)
    for number in range(MAX_RESULTS + 1):
        remembered(namespace(f"n{number}"))
    del function.calls[:]
    remembered(namespace("n1"))
    remembered(namespace("n0"))
    large = namespace("x" * MAX_SIZE)
    remembered(large)
    remembered(large)
    assert function.calls == ["n0", large.metadata.name, large.metadata.name]


def pod(name: str, **spec: Any) -> Any:
    meta = {"name": name, "namespace": "default"}
    return codec.decode(kinds.POD.cls, {"metadata": meta, "spec": {"containers": [{"name": "main", "image": "x"}], **spec}})


@pytest.mark.parametrize("spec", [{"restartPolicy": "Sometimes"}, {"hostUsers": False, "hostPID": True}])
def test_a_spec_that_is_invalid_is_so_each_time(spec: dict[str, Any]) -> None:
    """With the same errors, those of field options and those of rules between fields, also after a good one."""
    found = []
    for name in ("a", "b"):
        admit(kinds.POD, pod(name))
        with pytest.raises(Invalid) as raised:
            admit(kinds.POD, pod(name, **spec))
        found.append(raised.value.causes)
    assert found[0] == found[1]
    assert all(cause.field.startswith("spec.") for cause in found[0])
