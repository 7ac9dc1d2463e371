"""Usage: python -m controlplane.kindtable [--check]. With --check nothing is written; exit status 1: the page is stale."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from controlplane import leader, resources
from controlplane.config import Config
from controlplane.controllers.runner import Controller
from controlplane.kindtable import page, upstream
from controlplane.kindtable.page import Notes
from controlplane.podusage import PodUsage
from controlplane.requests import discovery
from pinnace import fieldtable, ruletable

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "kinds.md"


def text() -> str:
    return page.text(upstream.load(), discovery.groups(resources.built_in()), controllers(), notes(ROOT / "tests"))


def controllers() -> Sequence[Controller]:
    return leader.controllers(Config(Path()), b"", PodUsage())


def notes(tests: Path) -> Notes:
    """From the markers of tests and the tables of validation rules."""
    table = fieldtable.build(tests)
    limits = {
        f"{row.message}.{row.name}": "; ".join(dict.fromkeys(claim.partly for claim in row.claims if claim.partly))
        for row in table.rows.values()
    }
    rules: dict[str, list[str]] = {}
    for rule in ruletable.load():
        if rule.remark and rule.remark != "not supported":
            rules.setdefault(rule.kind, []).append(f"{rule.says} *{rule.remark[0].upper()}{rule.remark[1:]}.*")
    return Notes({path: note for path, note in limits.items() if note}, rules)


def main(arguments: Sequence[str]) -> int:
    wanted = text()
    if "--check" not in arguments:
        PAGE.write_text(wanted)
    elif not PAGE.is_file() or PAGE.read_text() != wanted:
        print(f"stale: {PAGE.relative_to(ROOT)} (run `make generate`)")
        return 1
    print(f"every kind is listed with its fields: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
