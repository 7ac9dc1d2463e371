"""Query parameters of exec, attach, port-forward and log, with Kubernetes' defaults and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.rest.streams import options
from controlplane.rest.streams.interface import StreamRequest
from controlplane.rest.streams.options import CommandOptions
from pinnace.errors import ApiError, BadRequest, Invalid

NOW = 1_700_000_000.25


def request(*query: tuple[str, str]) -> StreamRequest:
    found: dict[str, list[str]] = {}
    for name, value in query:
        found.setdefault(name, []).append(value)
    return StreamRequest("GET", "blue", "web", "log", found)


def pairs(**query: str) -> StreamRequest:
    return request(*query.items())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, CommandOptions(stdin=False, stdout=True, stderr=True, tty=False)),
        ({"stdin": "1", "stderr": "0"}, CommandOptions(stdin=True, stdout=True, stderr=False, tty=False)),
        ({"stdin": "True", "stdout": "False", "tty": ""}, CommandOptions(stdin=True, stdout=False, stderr=False, tty=True)),
        (
            {"stdin": "FALSE", "stdout": "true", "stderr": "yes"},
            CommandOptions(stdin=False, stdout=True, stderr=True, tty=False),
        ),
    ],
)
def test_booleans_are_kubernetes_own(query: dict[str, str], expected: CommandOptions) -> None:
    """0 and false in any case are false, all else is true; output is on unless it is turned off."""
    assert options.command_options(pairs(**query)) == expected


def test_a_command_needs_a_stream_and_a_word() -> None:
    """Both are refused as Kubernetes refuses them."""
    with pytest.raises(BadRequest, match="at least 1 of stdin, stdout, stderr"):
        options.command_options(pairs(stdout="0", stderr="0"))
    chosen = options.command_options(request())
    for query in ((), (("command", ""),)):
        with pytest.raises(BadRequest, match="at least one command"):
            options.exec_opening(request(*query), chosen)


def test_a_command_keeps_its_words() -> None:
    """In their order, empty ones too."""
    query = (("command", "sh"), ("container", "main"), ("command", ""), ("command", "a b"), ("stdin", "1"), ("tty", "1"))
    opening = options.exec_opening(request(*query), options.command_options(request(*query)))
    assert (opening.namespace, opening.pod, opening.container) == ("blue", "web", "main")
    assert list(opening.exec.command) == ["sh", "", "a b"]
    assert opening.exec.stdin
    assert opening.exec.tty
    assert options.attach_opening(request(*query), options.command_options(request(*query))).attach.stdin


def test_ports_are_lists_and_repeated() -> None:
    """As Python's clients and older ones write them."""
    assert options.ports(request(("ports", "80,443"), ("ports", "8080"))) == [80, 443, 8080]
    assert options.ports(pairs(port="1")) == [1]
    for query in (
        (),
        (("ports", ""),),
        (("ports", "0"),),
        (("ports", "65536"),),
        (("ports", "-1"),),
        (("ports", "٣"),),
        (("ports", "1," * 64 + "1"),),
    ):
        with pytest.raises(BadRequest):
            options.ports(request(*query))


def test_log_options() -> None:
    """All of them; without any, the whole log."""
    opening = options.log_opening(
        pairs(container="side", follow="true", previous="1", timestamps="1", tailLines="0", limitBytes="7", sinceSeconds="10"),
        NOW,
    )
    logs = opening.logs
    assert (opening.container, logs.follow, logs.previous, logs.timestamps) == ("side", True, True, True)
    assert (logs.HasField("tailLines"), logs.tailLines, logs.limitBytes) == (True, 0, 7)
    assert logs.sinceNanos == int((NOW - 10) * 1e9)
    plain = options.log_opening(pairs(tailLines="", limitBytes="", insecureSkipTLSVerifyBackend="true", pretty=""), NOW).logs
    assert (plain.HasField("tailLines"), plain.limitBytes, plain.sinceNanos, plain.follow) == (False, 0, 0, False)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
        ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500_000_000),
        ("2023-11-14t22:13:20z", 1_700_000_000_000_000_000),
        ("1969-12-31T00:00:00Z", 0),
    ],
)
def test_since_a_time_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    """RFC 3339; times before the epoch are the beginning."""
    assert options.log_opening(pairs(sinceTime=text), NOW).logs.sinceNanos == nanoseconds


WRONG: list[tuple[dict[str, Any], type[ApiError]]] = [
    ({"tailLines": "-1"}, Invalid),
    ({"limitBytes": "0"}, Invalid),
    ({"sinceSeconds": "0"}, Invalid),
    ({"stream": "stdout"}, Invalid),
    ({"stream": "Stderr", "tailLines": "1"}, Invalid),
    ({"sinceSeconds": "1", "sinceTime": "2023-11-14T22:13:20Z"}, Invalid),
    ({"tailLines": "ten"}, BadRequest),
    ({"tailLines": "1_0"}, BadRequest),
    ({"limitBytes": str(1 << 63)}, BadRequest),
    ({"limitBytes": "9" * 5000}, BadRequest),
    ({"sinceTime": "yesterday"}, BadRequest),
    ({"sinceTime": "2023-11-14T22:13:20"}, BadRequest),
    ({"sinceTime": "2023-02-30T22:13:20Z"}, BadRequest),
    ({"sinceTime": "0000-01-01T00:00:00Z"}, BadRequest),
]


@pytest.mark.parametrize(("query", "error"), WRONG)
def test_log_options_that_are_refused(query: dict[str, str], error: type[ApiError]) -> None:
    """By Kubernetes' validation, or because they are no numbers and times."""
    with pytest.raises(error):
        options.log_opening(pairs(**query), NOW)


@pytest.mark.parametrize(
    ("query", "stream"), [({}, ""), ({"stream": "All", "tailLines": "1"}, ""), ({"stream": "Stderr"}, "stderr")]
)
def test_logs_of_one_stream(query: dict[str, str], stream: str) -> None:
    """Named as Kubernetes names it; following ends with the attempt in any case."""
    logs = options.log_opening(pairs(**query), NOW).logs
    assert (logs.stream, logs.untilExit) == (stream, True)


def test_since_more_seconds_than_there_were_is_the_beginning() -> None:
    """Not a negative time."""
    assert options.log_opening(pairs(sinceSeconds=str((1 << 63) - 1)), NOW).logs.sinceNanos == 0
