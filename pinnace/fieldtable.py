"""`make generate`: docs/pod-fields.md, every field of a PodSpec with what becomes of it. Development only.

Usage: python -m pinnace.fieldtable [--check]. With --check nothing is written; exit status 1 says what is wrong.

The schema says what is refused. Tests say what they show, by a marker that is read from their text:

    @pytest.mark.shows("spec.containers[].env[].{name,value}", "spec.hostname", partly="not yet ...")

A field that is neither refused nor shown is a fault, and so is a claim for a field that is refused or is not there. So the
table cannot promise what nothing shows. A claim holds for every message on the way to its field too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pinnace import schema
from pinnace.core.v1 import pod_pb2
from pinnace.schema import Field, Schema, flatten, type_of

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "pod-fields.md"
_BRACES = re.compile(r"\{([^{}]*)\}")
_HEAD = """# The fields of a pod

The support of each field of a `PodSpec`. This page is generated from the schema and from markers of the tests
(`make generate`); `make check` fails if it is stale, or if a field that is not rejected has no test.

- **supported**: as in Kubernetes, with the test that shows it. *its fields*: the tests of its fields show it.
- **partly**: supported, with the limits that follow.
- **refused**: a manifest that sets the field is rejected with an error that names it.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a test says it shows: a path below `spec`, with the notes of its marker."""

    path: str
    test: str
    partly: str = ""
    refused: str = ""


@dataclass(slots=True)
class Row:
    """One field of one message; `passed`: a claim for something inside it leads through it."""

    message: str
    name: str
    type: str
    unsupported: bool
    claims: list[Claim] = field(default_factory=list)
    passed: bool = False

    @property
    def shown(self) -> bool:
        return self.unsupported or self.passed or bool(self.claims)

    @property
    def state(self) -> str:
        if self.unsupported:
            return "refused"
        notes = [f"refused: {claim.refused}" for claim in self.claims if claim.refused]
        notes += [f"partly: {claim.partly}" for claim in self.claims if claim.partly]
        return "; ".join(dict.fromkeys(notes)) or ("supported" if self.shown else "no test")

    @property
    def tests(self) -> str:
        names = [f"`{claim.test}`" for claim in self.claims]
        return ", ".join(dict.fromkeys(names)) or ("*its fields*" if self.passed else "")


class Table:
    """Rows by message and field, for everything that a manifest can reach without being refused."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self.rows: dict[tuple[str, str], Row] = {}
        self.faults: list[str] = []
        self._add(root)

    def _add(self, spec: Schema) -> None:
        waiting, seen = [spec], {spec.full_name}
        while waiting:
            present = waiting.pop(0)
            for name, item, _ in flatten(present):
                self.rows[present.name, name] = Row(present.name, name, type_of(item), item.unsupported)
                if item.message is not None and not item.unsupported and item.message.full_name not in seen:
                    seen.add(item.message.full_name)
                    waiting.append(item.message)

    def claim(self, claim: Claim) -> None:
        """Book a claim, or a fault when it is for nothing."""
        steps = self._steps(claim.path)
        refused = [row for row in steps if row.unsupported]
        if not steps:
            self.faults.append(f"{claim.test} claims {claim.path}, which is no field")
        elif refused:
            self.faults.append(f"{claim.test} claims {claim.path}, but {refused[0].message}.{refused[0].name} is refused")
        else:
            for row in steps[:-1]:
                row.passed = True
            steps[-1].claims.append(claim)

    def _steps(self, path: str) -> list[Row]:
        """The rows on the way to a path; empty when there is no such field."""
        words = path.replace("[]", "").split(".")
        spec: Schema | None = self._root
        rows = []
        for word in words[1:]:
            found = {name: item for name, item, _ in flatten(spec)}.get(word) if spec is not None else None
            if spec is None or found is None:
                return []
            rows.append(self.rows.get((spec.name, word)) or _refused(spec, word, found))
            spec = found.message
        return rows if words[0] == "spec" else []

    def missing(self) -> list[str]:
        return [f"no test shows {row.message}.{row.name}" for row in self.rows.values() if not row.shown]

    def text(self) -> str:
        counts: dict[str, int] = {}
        for row in self.rows.values():
            word = row.state.partition(":")[0]
            counts[word] = counts.get(word, 0) + 1
        parts = [_HEAD, ", ".join(f"{number} {word}" for word, number in sorted(counts.items())) + "."]
        last = ""
        for row in self.rows.values():
            if row.message != last:
                parts += ["", f"## {row.message}", "", "| Field | Type | State | Shown by |", "|---|---|---|---|"]
                last = row.message
            parts.append(f"| {row.name} | {row.type} | {row.state} | {row.tests} |")
        return "\n".join(parts) + "\n"


def _refused(spec: Schema, name: str, item: Field) -> Row:
    """A field inside a message that only refused fields hold."""
    return Row(spec.name, name, type_of(item), True)


def claims(folder: Path) -> Iterator[Claim]:
    """The claims of all tests below a folder. Their text is read; nothing of it is run."""
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(), str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    yield from _claims(decorator, f"{path.relative_to(folder)}: {node.name}")


def _claims(node: ast.expr, test: str) -> Iterator[Claim]:
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != "pytest.mark.shows":
        return
    try:
        notes = {str(item.arg): str(ast.literal_eval(item.value)) for item in node.keywords}
        paths = [str(ast.literal_eval(argument)) for argument in node.args]
    except ValueError:
        raise SystemExit(f"{test}: `shows` takes strings written out, since nothing of the test is run") from None
    for path in paths:
        for each in expand(path):
            yield Claim(each, test, **notes)


def expand(path: str) -> list[str]:
    """`a.{b,c}` is `a.b` and `a.c`."""
    match = _BRACES.search(path)
    if match is None:
        return [path]
    return [done for word in match[1].split(",") for done in expand(path[: match.start()] + word.strip() + path[match.end() :])]


def build(tests: Path) -> Table:
    table = Table(schema.of(pod_pb2.PodSpec))
    for claim in claims(tests):
        table.claim(claim)
    return table


def main() -> int:
    check = "--check" in sys.argv[1:]
    table = build(ROOT / "tests")
    faults = [*table.faults, *table.missing()]
    text = table.text()
    if not check:
        TABLE.write_text(text)
    elif not TABLE.is_file() or TABLE.read_text() != text:
        faults.append(f"stale: {TABLE.relative_to(ROOT)} (run `make generate`)")
    print("\n".join(faults) or f"every field of a pod is refused or shown by a test: {TABLE.relative_to(ROOT)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
