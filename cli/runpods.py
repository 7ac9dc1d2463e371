"""The pod that `kctl run` creates, and with --expose its Service, from its arguments. Pure.

Source: BasicPod of kubectl's pkg/generate/versioned (run.go), generateService of its pkg/cmd/run.
"""

from __future__ import annotations

import json
from typing import Any

from pinnace import formats
from pinnace.errors import BadRequest


def manifest(args: Any, command: list[str]) -> dict[str, Any]:
    """The pod in JSON form, without apiVersion and kind. `command` are the words behind the name. Raises BadRequest."""
    labels = pairs(args.labels.split(","), "--labels") if args.labels else {"run": args.name}
    meta: dict[str, Any] = {"name": args.name, "labels": labels}
    if args.annotations:
        meta["annotations"] = pairs(args.annotations, "--annotations")
    spec = {"containers": [_container(args, command)], "dnsPolicy": "ClusterFirst", "restartPolicy": args.restart}
    value: dict[str, Any] = {"metadata": meta, "spec": spec}
    return merged(value, overrides(args.overrides)) if args.overrides else value


def service(args: Any) -> dict[str, Any]:
    """The Service in JSON form, without apiVersion and kind. Raises BadRequest."""
    labels = pairs(args.labels.split(","), "--labels") if args.labels else {}
    meta = {"name": args.name, **({"labels": labels} if labels else {})}
    port = _port(args.port)
    ports = [{"port": port, "protocol": "TCP", "targetPort": port}]
    return {"metadata": meta, "spec": {"ports": ports, "selector": labels or {"run": args.name}}}


def _container(args: Any, command: list[str]) -> dict[str, Any]:
    value: dict[str, Any] = {"name": args.name, "image": args.image}
    if command:
        value["command" if args.command else "args"] = command
    if args.image_pull_policy:
        value["imagePullPolicy"] = args.image_pull_policy
    if args.env:
        value["env"] = env(args.env)
    if args.port is not None:
        value["ports"] = [{"containerPort": _port(args.port)}]
    if args.stdin:
        value |= {"stdin": True, "stdinOnce": not args.leave_stdin_open}
    if args.tty:
        value["tty"] = True
    if args.privileged:
        value["securityContext"] = {"privileged": True}
    return value


def env(items: list[str]) -> list[dict[str, str]]:
    """Of `NAME=VALUE`. Raises BadRequest."""
    found = [item.partition("=") for item in items]
    wrong = next((name for name, sign, _ in found if not sign or formats.env_name(name)), None)
    if wrong is not None:
        raise BadRequest(f"invalid env: {wrong[:80]}: expected NAME=VALUE")
    return [{"name": name, "value": value} for name, _, value in found]


def pairs(items: list[str], flag: str) -> dict[str, str]:
    """Of `KEY=VALUE`. Raises BadRequest."""
    found = [item.partition("=") for item in items]
    wrong = next((key for key, sign, _ in found if not sign or not key), None)
    if wrong is not None:
        raise BadRequest(f'{flag}: unexpected "{wrong[:80]}": expected KEY=VALUE')
    return {key: value for key, _, value in found}


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or formats.port_number(int(text)):
        raise BadRequest(f'--port: "{text[:40]}" is not a number from 1 to 65535')
    return int(text)


def overrides(text: str, kind: str = "Pod") -> dict[str, Any]:
    """A JSON object, whose apiVersion and kind say nothing new. Raises BadRequest."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"--overrides: invalid JSON: {error}") from None
    if not isinstance(found, dict) or found.get("apiVersion", "v1") != "v1" or found.get("kind", kind) != kind:
        raise BadRequest(f"--overrides: expected a JSON object of kind {kind} and apiVersion v1")
    return {key: value for key, value in found.items() if key not in ("apiVersion", "kind")}


def merged(value: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    old = value if isinstance(value, dict) else {}
    found = {key: item for key, item in old.items() if key not in change}
    return {**found, **{key: merged(old.get(key), item) for key, item in change.items() if item is not None}}
