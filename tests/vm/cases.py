"""In the machine: a pytest for each case, forked from a process that has collected the tests of all.

Imports take more than a minute in there. Cases share nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import sys

import pytest

from tests.vm.machine import begins

# The tests of the machine need neither of the latter two, whose imports take a third of the time.
OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:anyio")


def main(cases: dict[str, list[str]]) -> None:
    paths = sorted({word for arguments in cases.values() for word in arguments if word.startswith("tests/")})
    pytest.main([*OPTIONS, "--collect-only", *paths])
    gc.collect()
    gc.freeze()
    for name, arguments in cases.items():
        print(begins(name), end="", flush=True)
        pid = os.fork()
        if pid == 0:
            sys.exit(pytest.main([*OPTIONS, *arguments]))
        _, status = os.waitpid(pid, 0)
        print(f"machine: {name} exit {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
