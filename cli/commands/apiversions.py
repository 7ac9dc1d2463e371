"""`kctl api-versions`: the versions of API groups that the control plane serves."""

from __future__ import annotations

from cli import flags


def run(arguments: list[str]) -> int:
    parser = flags.Parser("api-versions", "Print the served API groups and their versions, as GROUP/VERSION")
    args = parser.parse_args(arguments)
    for version in sorted({item.apiVersion for item in flags.client(args).discover()}):
        print(version)
    return 0
