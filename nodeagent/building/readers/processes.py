"""RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK."""

from __future__ import annotations

from typing import Any

from nodeagent.building import durations, flags, heredocs, jsonform, mounts, whitespace
from nodeagent.building.errors import BuildError
from nodeagent.building.expansion import ExpansionError
from nodeagent.building.flags import Flags
from nodeagent.building.grammar import Statement
from nodeagent.building.heredocs import Heredoc
from nodeagent.building.instructions import Cmd, Entrypoint, Healthcheck, Run, Shell

MAX_MOUNTS = 64
_INTERVALS = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval"}
_MILLISECOND = 10**6
MAX_RETRIES = (1 << 31) - 1


def run(statement: Statement, escape: str) -> Run:
    """`RUN [--mount=]... [--network=] [--security=] COMMAND`"""
    given = flags.parse(statement.flags, statement.line, texts=("network", "security"), lists=("mount",))
    _check_security(given.text("security"), statement.line)
    network = _network(given, statement.line)
    options = given.listed("mount")
    if len(options) > MAX_MOUNTS:
        raise BuildError(f"RUN has more than {MAX_MOUNTS} mounts", statement.line)
    for option in options:
        if "$" in option:
            mounts.origin_of(option, statement.line)
        else:
            mounts.parse(option, statement.line)
    arguments, shell, script = _command(statement)
    if not arguments or not arguments[0].strip():
        raise BuildError("RUN requires a command", statement.line)
    return Run(
        line=statement.line, text=statement.text, arguments=arguments, shell=shell, script=script, options=options,
        network=network,
    )  # fmt: skip


def _network(given: Flags, line: int) -> str:
    mode = given.values.get("network", "default")
    if mode == "host":
        raise BuildError("RUN --network=host needs the entitlement network.host, which nodes do not grant", line)
    if mode not in ("default", "none"):
        raise BuildError(f'invalid network mode "{mode[:40]}" (default and none are supported)', line)
    return mode


def _check_security(mode: str, line: int) -> None:
    if mode == "insecure":
        raise BuildError("RUN --security=insecure needs the entitlement security.insecure, which nodes do not grant", line)
    if mode not in ("", "sandbox"):
        raise BuildError(f'security "{mode[:40]}" is not valid', line)


def _command(statement: Statement) -> tuple[tuple[str, ...], bool, Heredoc | None]:
    """Arguments, whether they are a line for the shell, and a script among the here-documents."""
    exact = jsonform.strings(statement.value, statement.line) if statement.value else None
    if exact is not None:
        return exact, False, None
    documents = statement.heredocs
    if not documents:
        return ((statement.value,) if statement.value else ()), True, None
    if _is_one_heredoc(statement.value):
        document = documents[0]
        if document.text.startswith("#!"):
            if "/" in document.name or document.name in (".", ".."):
                raise BuildError(f"the name of the heredoc {document.name[:60]!r} is not that of a file", statement.line)
            return (f"/dev/pipes/{document.name}",), True, document
        return (document.text,), True, None
    # For the shell, which reads here-documents itself.
    lines = [statement.value]
    for document in documents:
        lines.append(f"{document.content}{document.name}")
    return ("\n".join(lines),), True, None


def _is_one_heredoc(command: str) -> bool:
    try:
        return heredocs.parse(command) is not None
    except ExpansionError:
        return False


def cmd(statement: Statement, escape: str) -> Cmd:
    """`CMD COMMAND`, `CMD ["COMMAND", ...]`"""
    flags.parse(statement.flags, statement.line)
    return Cmd(line=statement.line, text=statement.text, **_arguments(statement))


def entrypoint(statement: Statement, escape: str) -> Entrypoint:
    """`ENTRYPOINT COMMAND`, `ENTRYPOINT ["COMMAND", ...]`"""
    flags.parse(statement.flags, statement.line)
    return Entrypoint(line=statement.line, text=statement.text, **_arguments(statement))


def _arguments(statement: Statement) -> dict[str, Any]:
    if not statement.value:
        raise BuildError(f"{statement.name} requires at least one argument", statement.line)
    arguments, shell, _ = _command(statement)
    return {"arguments": arguments, "shell": shell}


def shell(statement: Statement, escape: str) -> Shell:
    """`SHELL ["SHELL", "ARGUMENT"...]`"""
    flags.parse(statement.flags, statement.line)
    items = jsonform.strings(statement.value, statement.line)
    if items is None:
        raise BuildError('SHELL requires the arguments to be in JSON form, such as ["/bin/sh", "-c"]', statement.line)
    if not items:
        raise BuildError("SHELL requires at least one argument", statement.line)
    return Shell(line=statement.line, text=statement.text, items=items)


def healthcheck(statement: Statement, escape: str) -> Healthcheck:
    """`HEALTHCHECK NONE`, `HEALTHCHECK [--interval=] [--timeout=] [--start-period=] [--retries=]... CMD COMMAND`"""
    kind, rest = whitespace.partition(statement.value)
    if not kind:
        raise BuildError("HEALTHCHECK requires at least one argument", statement.line)
    if kind.upper() == "NONE":
        if rest:
            raise BuildError("HEALTHCHECK NONE takes no arguments", statement.line)
        return Healthcheck(line=statement.line, text=statement.text, config={"Test": ["NONE"]})
    if kind.upper() != "CMD":
        raise BuildError(f'Unknown type "{kind[:40].upper()}" in HEALTHCHECK (try CMD)', statement.line)
    given = flags.parse(statement.flags, statement.line, texts=(*_INTERVALS, "retries"))
    exact = jsonform.strings(rest, statement.line)
    test = ["CMD", *exact] if exact is not None else ["CMD-SHELL", rest]
    if not rest or len(test) < 2:
        raise BuildError("Missing command after HEALTHCHECK CMD", statement.line)
    return Healthcheck(line=statement.line, text=statement.text, config={"Test": test, **_timing(given, statement.line)})


def _timing(given: Flags, line: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for flag, member in _INTERVALS.items():
        try:
            value = durations.nanoseconds(given.text(flag) or "0")
        except ValueError as error:
            raise BuildError(f"--{flag}: {error}", line) from None
        if value and value < _MILLISECOND:
            raise BuildError(f"--{flag} cannot be less than 1ms", line)
        found |= {member: value} if value else {}
    retries = given.text("retries") or "0"
    if len(retries) > 10 or not retries.isascii() or not retries.isdigit() or int(retries) > MAX_RETRIES:
        raise BuildError(f"--retries={retries[:20]} is not a number from 0", line)
    return found | ({"Retries": int(retries)} if int(retries) else {})
