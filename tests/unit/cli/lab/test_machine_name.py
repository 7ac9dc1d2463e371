"""`host.pinnace.internal` is this machine for the pods of a lab; no other name changes."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest

from cli.lab.dns import machine


def ask(name: str, kind: str = "A") -> dns.message.Message | bytes:
    """The answer, parsed by a library; what others are asked is answered `elsewhere`."""
    query = dns.message.make_query(name, kind)
    answer = machine.named("198.18.0.1", lambda _query, _tcp: b"elsewhere")(query.to_wire(), False)
    assert isinstance(answer, bytes)
    if answer == b"elsewhere":
        return answer
    found = dns.message.from_wire(answer)
    assert query.is_response(found)
    return found


@pytest.mark.parametrize("name", ["host.pinnace.internal", "HOST.Pinnace.internal."])
def test_the_name_has_the_machine_s_address(name: str) -> None:
    found = ask(name)
    assert isinstance(found, dns.message.Message)
    [record] = found.answer
    assert (str(record[0]), record.ttl, record.name) == ("198.18.0.1", machine.TTL, found.question[0].name)


def test_the_name_has_no_other_records() -> None:
    """No error: a resolver that asks for both families uses what there is."""
    found = ask("host.pinnace.internal", "AAAA")
    assert isinstance(found, dns.message.Message)
    assert (found.rcode(), found.answer) == (dns.rcode.NOERROR, [])


@pytest.mark.parametrize("name", ["pinnace.internal", "a.host.pinnace.internal", "host.pinnace.internal.example", "example"])
def test_other_names_are_left_to_others(name: str) -> None:
    assert ask(name) == b"elsewhere"
