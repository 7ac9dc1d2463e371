"""`kctl wait` against a scripted server: conditions, values, creation, deletion, time limits and messages."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cli import conditions, flags, main
from cli.commands import wait
from pinnace import kinds
from pinnace.errors import BadRequest, Expired, NotFound, Timeout


def pod(name: str = "web", phase: str = "Pending", *, uid: str = "1", **status: str) -> Any:
    """`status` are conditions by type."""
    made = kinds.POD.cls()
    made.metadata.name, made.metadata.namespace, made.metadata.uid, made.metadata.generation = name, "default", uid, 2
    made.status.phase = phase
    for type_, value in status.items():
        made.status.conditions.add(type=type_, status=value)
    return made


class Server:
    """Answers like cli.client.Client: `present` at first, then each event of `later`; then the time is over."""

    def __init__(self, *present: Any, later: tuple[Any, ...] = ()) -> None:
        self.context = SimpleNamespace(namespace="default")
        self.present = {item.metadata.name: item for item in present}
        self.later = list(later)
        self.calls: list[str] = []

    def get(self, kind: Any, namespace: str, name: str) -> Any:
        self.calls.append(f"get {name}")
        if name not in self.present:
            raise NotFound.of(kind.resource, name)
        return self.present[name]

    def list(self, kind: Any, namespace: str, **how: Any) -> list[Any]:
        return list(self.present.values())

    def watch(self, kind: Any, namespace: str, *, name: str = "", timeout: float | None = None, **how: Any) -> Iterator[Any]:
        self.calls.append(f"watch {name}")
        for item in [item for key, item in self.present.items() if name in ("", key)]:
            yield "ADDED", item
        yield "BOOKMARK", None
        while self.later:
            event = self.later.pop(0)
            if isinstance(event, Exception):
                raise event
            type_, item = event
            if type_ == "DELETED":
                self.present.pop(item.metadata.name, None)
            else:
                self.present[item.metadata.name] = item
            yield event
        raise Timeout("the deadline is over")


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `kctl wait` against a server; returns exit code, stdout and stderr."""

    def run(server: Server, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(flags, "client", lambda args: server)
        code = main.run(["wait", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


NOT_FOUND = 'Error from server (NotFound): pods "web" not found\n'
TIMED_OUT = "error: timed out waiting for the condition on pods/web\n"
MET = (0, "pod/web condition met\n", "")


def test_a_condition_that_holds_or_comes(waited: Any) -> None:
    """Names and values without regard to case; `=false` waits for the opposite."""
    assert waited(Server(pod(Ready="True")), "pod/web", "--for=condition=ready") == MET
    later = (("MODIFIED", pod(Ready="True")),)
    assert waited(Server(pod(Ready="False"), later=later), "pod", "web", "--for=condition=Ready=TRUE") == MET
    assert waited(Server(pod(Ready="False")), "pod/web", "--for=condition=Ready=false") == MET
    assert waited(Server(pod(Ready="False")), "pod/web", "--for=condition=Ready") == (1, "", TIMED_OUT)


def test_a_condition_of_an_older_generation_does_not_count(waited: Any) -> None:
    """observedGeneration below metadata.generation."""
    old = pod(Ready="True")
    old.status.conditions[0].observedGeneration = 1
    assert waited(Server(old), "pod/web", "--for=condition=Ready")[0] == 1


def test_a_value_or_that_a_field_is_there(waited: Any) -> None:
    """The engine of -o jsonpath; without braces and quotes too; `=` in brackets is no value."""
    server = Server(pod(phase="Running", Ready="True"))
    for expression in ("{.status.phase}=Running", ".status.phase=Running", "status.phase='Running'", "{.status.phase}",
                       '{.status.conditions[?(@.type=="Ready")].status}=True'):  # fmt: skip
        assert waited(server, "pod/web", f"--for=jsonpath={expression}") == MET, expression
    assert waited(server, "pod/web", "--for=jsonpath={.status.phase}=Failed") == (1, "", TIMED_OUT)
    assert waited(server, "pod/web", "--for=jsonpath={.status.podIP}") == (1, "", TIMED_OUT)
    assert waited(server, "pod/web", "--for=jsonpath={.metadata.generation}=2") == MET


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("Ready", 'unrecognized condition: "Ready"'), ("", "unrecognized condition"), ("condition=", "unrecognized condition"),
        ("jsonpath=", "jsonpath expression cannot be empty"), ("jsonpath={.a", "is not a path"), ("jsonpath={.a}=", "after one equal sign"),
        ("jsonpath={.a}==b", "after one equal sign"), ("jsonpath={.a[}=b", "is not a path"), ("jsonpath={.a[x]}=b", "invalid array index"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_read_is_refused_at_once(wanted: str, said: str) -> None:
    """Before the server is asked anything."""
    with pytest.raises(BadRequest) as caught:
        conditions.parse(wanted)
    assert said in caught.value.message


def test_an_expression_that_does_not_fit_ends_the_wait(waited: Any) -> None:
    """More than one value, or an object where a value is compared."""
    server = Server(pod(Ready="True", Initialized="True"))
    found = waited(server, "pod/web", "--for=jsonpath={.status.conditions[*].status}=True")
    assert found == (1, "", "error: given jsonpath expression matches more than one value\n")
    assert "nested object or list" in waited(server, "pod/web", "--for=jsonpath={.status.conditions}=True")[2]


def test_waiting_for_an_object_that_is_not_there(waited: Any) -> None:
    """NotFound at once for a condition, success without a word for its deletion, patience for its creation."""
    assert waited(Server(), "pod/web", "--for=condition=Ready") == (1, "", NOT_FOUND)
    assert waited(Server(), "pod/web", "--for=delete") == (0, "", "")
    assert waited(Server(later=(("ADDED", pod()),)), "pod/web", "--for=create") == MET
    assert waited(Server(), "pod/web", "--for=create") == (1, "", TIMED_OUT)


def test_a_wait_for_a_condition_ends_when_its_object_is_deleted(waited: Any) -> None:
    """Also when another object takes the name."""
    assert waited(Server(pod(), later=(("DELETED", pod()),)), "pod/web", "--for=condition=Ready") == (1, "", NOT_FOUND)
    again = ("MODIFIED", pod(uid="2", Ready="True"))
    assert waited(Server(pod(), later=(again,)), "pod/web", "--for=condition=Ready") == (1, "", NOT_FOUND)


def test_a_wait_for_deletion_ends_with_the_object_that_was_there(waited: Any) -> None:
    """Not with another one of the same name."""
    assert waited(Server(pod(), later=(("DELETED", pod()),)), "pod/web", "--for=delete") == MET
    assert waited(Server(pod(), later=(("ADDED", pod(uid="2")),)), "pod/web", "--for=DELETE") == MET
    assert waited(Server(pod()), "pod/web", "--for=delete") == (1, "", TIMED_OUT)


def test_a_selector_without_match(waited: Any) -> None:
    """Nothing is left to delete; a condition has nothing that could have it; a creation may still come."""
    assert waited(Server(), "pod", "-l", "app=web", "--for=delete") == (0, "", "")
    assert waited(Server(), "pod", "--all", "--for=condition=Ready") == (1, "", "error: no matching resources found\n")
    assert waited(Server(later=(("ADDED", pod()),)), "pod", "-l", "app=web", "--for=create") == MET
    assert waited(Server(), "pod", "--all", "--for=create") == (1, "", "error: timed out waiting for the condition\n")


def test_a_type_alone_is_not_enough(waited: Any) -> None:
    """kubectl's sentence."""
    assert "no name was specified" in waited(Server(), "pods", "--for=condition=Ready")[2]


def test_every_object_is_waited_for(waited: Any) -> None:
    """A failure of one stops no other; the exit code says that there was one."""
    server = Server(pod("a", Ready="True"), pod("c", Ready="True"))
    code, out, err = waited(server, "pod/a", "pod/b", "pod/c", "--for=condition=Ready")
    assert (code, out) == (1, "pod/a condition met\npod/c condition met\n")
    assert err == 'Error from server (NotFound): pods "b" not found\n'


def test_several_conditions_must_all_hold(waited: Any) -> None:
    """In order, but creation first."""
    server = Server(later=(("ADDED", pod()), ("MODIFIED", pod(phase="Running", Ready="True"))))
    code, out, _ = waited(server, "pod/web", "--for=condition=Ready", "--for=jsonpath={.status.phase}=Running", "--for=create")
    assert (code, out) == (0, "pod/web condition met\n" * 3)


def test_a_timeout_of_zero_checks_once(waited: Any) -> None:
    """No watch is opened."""
    server = Server(pod(Ready="False"))
    not_met = (1, "", "error: condition not met for pods/web\n")
    assert waited(server, "pod/web", "--for=condition=Ready", "--timeout=0") == not_met
    assert waited(server, "pod/web", "--for=condition=Ready=False", "--timeout=0s") == MET
    assert waited(server, "pod/web", "--for=delete", "--timeout=0") == not_met
    assert waited(Server(), "pod/web", "--for=delete", "--timeout=0") == (0, "", "")
    assert waited(Server(), "pod/web", "--for=condition=Ready", "--timeout=0") == (1, "", NOT_FOUND)
    assert "watch web" not in server.calls


def test_a_negative_timeout_waits_long(waited: Any) -> None:
    """A week, as kubectl."""
    later = (("MODIFIED", pod(Ready="True")),)
    assert waited(Server(pod(), later=later), "pod/web", "--for=condition=Ready", "--timeout=-1s") == MET


def test_after_the_deadline_the_rest_is_checked_once(waited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is ready is not reported as timed out because another one was not."""
    times = iter([0.0, 0.0, 31.0, 31.0, 31.0])
    monkeypatch.setattr(wait, "time", SimpleNamespace(monotonic=lambda: next(times)))
    server = Server(pod("web"), pod("b", Ready="True"))
    assert waited(server, "pod/web", "pod/b", "--for=condition=Ready") == (1, "pod/b condition met\n", TIMED_OUT)


def test_a_watch_that_is_cut_begins_again(waited: Any) -> None:
    """When the server has compacted, the wait continues from the state of that moment."""
    server = Server(pod(), later=(Expired("compacted"), ("MODIFIED", pod(Ready="True"))))
    assert waited(server, "pod/web", "--for=condition=Ready") == MET
    assert server.calls.count("watch web") == 2


def test_the_object_in_another_format(waited: Any) -> None:
    """-o name, jsonpath."""
    server = Server(pod(Ready="True"))
    assert waited(server, "pod/web", "--for=condition=Ready", "-o", "name")[1] == "pod/web\n"
    assert waited(server, "pod/web", "--for=condition=Ready", "-o", "jsonpath={.kind}")[1] == "Pod"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1h30m", 5400),
        ("-1s", -1),
        ("-1", -1),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        ("2us", 2e-6),
        ("0", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """As Go writes them; a number alone is seconds."""
    assert flags.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "1s2", "1 s", "--1s", "1e3s", "9" * 30, "9" * 12 + "h", "\u0663s"])
def test_what_is_no_duration(text: str) -> None:
    """Also one that is too long for any clock."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"duration|longer than"):
        flags.seconds(text)
