"""How the resolver's process is started: what its agent and it have in common. Standard library only."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """`control` is the path of the agent's socket, `root` an empty directory, `seccomp` the file of a filter or empty;
    `version` is what the agent is answered."""

    control: str
    addresses: tuple[str, ...]
    root: str
    seccomp: str
    version: str
    port: int = 53

    def text(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def from_text(text: str) -> Options:
    fields = json.loads(text)
    return Options(**{**fields, "addresses": tuple(fields["addresses"])})
