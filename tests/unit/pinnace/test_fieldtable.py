"""The table of a pod's fields: what a claim counts for, and what is found wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pinnace import fieldtable, schema
from pinnace.core.v1 import pod_pb2
from pinnace.fieldtable import Claim, Table


def table(*found: Claim) -> Table:
    made = Table(schema.of(pod_pb2.PodSpec))
    for claim in found:
        made.claim(claim)
    return made


def test_a_claim_counts_for_its_field_and_all_on_the_way() -> None:
    """A test that sets an env variable's name also has a container with env; no other field is shown by it."""
    rows = table(Claim("spec.containers[].env[].name", "t")).rows
    assert rows["EnvVar", "name"].tests == "`t`"
    assert rows["Container", "env"].state == "supported"
    assert rows["PodSpec", "containers"].tests == "*its fields*"
    assert rows["PodSpec", "initContainers"].state == "no test"
    assert rows["EnvVar", "value"].state == "no test"


def test_fields_of_inlined_messages_stand_where_manifests_have_them() -> None:
    """A volume's source is a field of the volume."""
    rows = table(Claim("spec.volumes[].configMap.name", "t")).rows
    assert (rows["Volume", "configMap"].state, rows["ConfigMapVolumeSource", "name"].state) == ("supported", "supported")


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("spec.schedulingGroup", "t claims spec.schedulingGroup, but PodSpec.schedulingGroup is refused"),
        (
            "spec.schedulingGroup.podGroupName",
            "t claims spec.schedulingGroup.podGroupName, but PodSpec.schedulingGroup is refused",
        ),
        ("spec.none", "t claims spec.none, which is no field"),
        ("spec.hostname.none", "t claims spec.hostname.none, which is no field"),
        ("metadata.name", "t claims metadata.name, which is no field"),
    ],
)
def test_a_claim_for_what_is_refused_or_not_there_is_a_fault(path: str, fault: str) -> None:
    """So that the markers cannot go stale either."""
    made = table(Claim(path, "t"))
    assert made.faults == [fault]


def test_a_field_without_a_test_is_missing_until_one_claims_it() -> None:
    """Refused fields need none."""
    assert "no test shows PodSpec.hostname" in table().missing()
    assert not any("schedulingGroup" in line for line in table().missing())
    assert "no test shows PodSpec.hostname" not in table(Claim("spec.hostname", "t")).missing()


def test_notes_say_what_is_partly_there() -> None:
    """The state carries the limits."""
    row = table(Claim("spec.dnsPolicy", "t", partly="no cluster DNS")).rows["PodSpec", "dnsPolicy"]
    assert row.state == "partly: no cluster DNS"


def test_claims_are_read_from_the_text_of_tests(tmp_path: Path) -> None:
    """Braces are several fields; other markers are passed over; nothing is imported."""
    (tmp_path / "test_a.py").write_text(
        "raise SystemExit\n@pytest.mark.root\n@pytest.mark.shows('spec.{hostname,os.name}', partly='x')\ndef test_it(): ...\n"
    )
    found = list(fieldtable.claims(tmp_path))
    assert found == [Claim(f"spec.{name}", "test_a.py: test_it", partly="x") for name in ("hostname", "os.name")]


def test_the_page_has_a_line_for_every_field_of_a_pod() -> None:
    """All of PodSpec, whether refused or not."""
    text = table().text()
    for name in pod_pb2.PodSpec.DESCRIPTOR.fields_by_name:
        assert f"| {name} |" in text
