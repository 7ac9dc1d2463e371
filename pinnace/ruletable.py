"""`make generate`: docs/validation-rules.md, every rule of validation with its test. Development only.

Usage: python -m pinnace.ruletable [--check]. With --check nothing is written; exit status 1 says what is wrong.

The rules are in tests/unit/pinnace/validation/*.yaml, each with manifests that it accepts and manifests that it rejects;
test_validation_rules.py runs them. So the page cannot promise what no test shows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "tests" / "unit" / "pinnace" / "validation"
TABLE = ROOT / "docs" / "validation-rules.md"
_FIELDS = {"name", "says", "source", "pinnace", "old", "before", "status", "via", "accepted", "rejected"}
_HEAD = """# The rules of validation

Each rule by which manifests are validated, compared with Kubernetes 1.37: the source is a function of its core/v1,
coordination/v1, discovery/v1, events/v1, networking/v1, node/v1, rbac/v1, scheduling/v1 or apimachinery validation. This page
is generated (`make generate`) from tests/unit/pinnace/validation, which has manifests that each rule accepts and rejects, with
their errors; `make check` fails if it is stale. `test_validation_rules.py -k NAME` tests a rule.

Rules with a remark are not Kubernetes': Pinnace rejects more, with an error that names the field. All errors of an object
are reported together. [pod-fields.md](pod-fields.md) lists the fields that are always rejected.
"""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A manifest, as changes to the smallest one, and every error that it gets."""

    changes: dict[str, Any]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `old` makes it a rule of updates, from an object with these changes, to which `added` came later; `via` names
    the subresource of the update."""

    kind: str
    name: str
    says: str
    source: str
    remark: str
    old: dict[str, Any] | None
    added: dict[str, Any]
    status: bool
    via: str
    accepted: tuple[dict[str, Any], ...]
    rejected: tuple[Rejection, ...]


def load(directory: Path = RULES) -> list[Rule]:
    """All rules, by file. Raises ValueError for a field that no rule has."""
    rules = []
    for path in sorted(directory.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        rules += [_rule(content["kind"], item, path.name) for item in content["rules"]]
    return rules


def _rule(kind: str, item: dict[str, Any], source: str) -> Rule:
    unknown = set(item) - _FIELDS
    if unknown:
        raise ValueError(f"{source}: rule {item.get('name')} has unknown fields: {', '.join(sorted(unknown))}")
    return Rule(
        kind=kind,
        name=item["name"],
        says=item["says"],
        source=item["source"],
        remark=item.get("pinnace", ""),
        old=item.get("old"),
        added=item.get("before", {}),
        status=item.get("status", False),
        via=item.get("via", ""),
        accepted=tuple(item["accepted"]),
        rejected=tuple(
            Rejection(entry["set"], tuple(entry["errors"] if "errors" in entry else (entry["error"],)))
            for entry in item["rejected"]
        ),
    )


def text(rules: list[Rule]) -> str:
    """The page."""
    parts = [_HEAD, f"{len(rules)} rules, {sum(bool(rule.remark) for rule in rules)} of them Pinnace's own."]
    last = ""
    for rule in sorted(rules, key=lambda rule: rule.kind):
        if rule.kind != last:
            parts += [
                "",
                f"## {rule.kind}",
                "",
                "| Rule | Name of its test | Source | Accepted, rejected |",
                "|---|---|---|---|",
            ]
            last = rule.kind
        says = f"{rule.says} *{rule.remark[0].upper()}{rule.remark[1:]}.*" if rule.remark else rule.says
        says = (
            f"{rule.via.capitalize() or 'Update'}: {says}"
            if rule.old is not None and not rule.status
            else f"Status: {says}"
            if rule.status
            else says
        )
        counts = f"{len(rule.accepted)}, {len(rule.rejected)}"
        parts.append(f"| {says.replace('|', chr(92) + '|')} | {rule.name} | {rule.source} | {counts} |")
    return "\n".join(parts) + "\n"


def problems() -> list[str]:
    """Why the rules or the page are not in order."""
    rules = load()
    names = [rule.name for rule in rules]
    found = [f"two rules are named {name}" for name in sorted({name for name in names if names.count(name) > 1})]
    for rule in rules:
        if not rule.accepted or not rule.rejected:
            found.append(f"rule {rule.name} needs a manifest that it accepts and one that it rejects")
    if not TABLE.is_file() or TABLE.read_text() != text(rules):
        found.append(f"stale: {TABLE.relative_to(ROOT)} (run `make generate`)")
    return found


def main() -> int:
    if "--check" not in sys.argv[1:]:
        TABLE.write_text(text(load()))
    found = problems()
    print("\n".join(found) or f"every rule of validation has its tests: {TABLE.relative_to(ROOT)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
