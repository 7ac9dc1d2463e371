"""Which taints a toleration matches."""

from __future__ import annotations

import pytest

from pinnace.core.v1 import scheduling_pb2
from pinnace.taints import tolerates


def toleration(text: str) -> scheduling_pb2.Toleration:
    """`key operator value effect`, with - for an empty one."""
    fields = ["" if word == "-" else word for word in text.split()]
    return scheduling_pb2.Toleration(key=fields[0], operator=fields[1], value=fields[2], effect=fields[3])


def taint(text: str) -> scheduling_pb2.Taint:
    fields = ["" if word == "-" else word for word in text.split()]
    return scheduling_pb2.Taint(key=fields[0], value=fields[1], effect=fields[2])


@pytest.mark.parametrize(
    ("tolerates_", "taint_", "expected"),
    [
        ("a - 1 -", "a 1 NoSchedule", True),
        ("a Equal 1 NoSchedule", "a 1 NoSchedule", True),
        ("a Equal 1 NoSchedule", "a 1 NoExecute", False),
        ("a Equal 2 -", "a 1 NoSchedule", False),
        ("b Equal 1 -", "a 1 NoSchedule", False),
        ("- Exists - -", "a 1 NoSchedule", True),
        ("a Exists - NoExecute", "a 1 NoSchedule", False),
        ("sla Gt 950 NoSchedule", "sla 951 NoSchedule", True),
        ("sla Gt 950 NoSchedule", "sla 950 NoSchedule", False),
        ("sla Lt 950 NoSchedule", "sla 949 NoSchedule", True),
        ("sla Lt 950 NoSchedule", "sla 950 NoSchedule", False),
        ("sla Lt 0 -", "sla -1 NoExecute", True),
        ("sla Gt 9 -", "sla 10 NoSchedule", True),
        ("sla Gt 9 -", "sla 010 NoSchedule", False),
        ("sla Gt 9 -", "sla high NoSchedule", False),
        ("sla Gt 9 -", "sla - NoSchedule", False),
        ("sla Gt high -", "sla 10 NoSchedule", False),
        ("sla Gt 9 -", "sla 9223372036854775808 NoSchedule", False),
        ("sla In 9 -", "sla 9 NoSchedule", False),
    ],
)
def test_tolerations_match_taints(tolerates_: str, taint_: str, expected: bool) -> None:
    """By key, effect and operator; Gt and Lt compare whole numbers, and what is no number matches nothing."""
    assert tolerates(toleration(tolerates_), taint(taint_)) is expected
