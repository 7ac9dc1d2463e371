"""Deployments, Jobs, CronJobs, quotas and priority classes from flags.

Source: kubectl's pkg/cmd/create (create_deployment.go, create_job.go, create_cronjob.go, create_quota.go and
create_priorityclass.go).
"""

from __future__ import annotations

from typing import Any

from cli import flags
from pinnace import quantity
from pinnace.errors import BadRequest

MAX_REPLICAS, MAX_PORT = (1 << 31) - 1, (1 << 16) - 1


def add_deployment(parser: Any) -> None:
    parser.usage = "kctl create deployment NAME --image=IMAGE [FLAGS] [-- COMMAND [ARGUMENT...]]"
    parser.add_argument("--image", action="append", default=[], help="comma-separated images, one container each (repeatable)")
    parser.add_argument("-r", "--replicas", type=flags.between(0, MAX_REPLICAS), default=1, help="number of pods (default: 1)")
    parser.add_argument("--port", type=flags.between(1, MAX_PORT), help="port that the first container listens on")


def deployment(args: Any, command: list[str]) -> dict[str, Any]:
    images = split(args.image)
    if not images:
        raise BadRequest('required flag(s) "image" not set')
    if len(images) > 1 and command:
        raise BadRequest("cannot specify multiple --image options and command")
    containers: list[dict[str, Any]] = [{"name": _name(image), "image": image} for image in images]
    if command:
        containers[0]["command"] = command
    if args.port is not None:
        containers[0]["ports"] = [{"containerPort": args.port}]
    labels = {"app": args.name}
    return {
        "metadata": {"labels": labels},
        "spec": {
            "replicas": args.replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }  # fmt: skip


def add_job(parser: Any) -> None:
    parser.usage = "kctl create job NAME (--image=IMAGE [-- COMMAND [ARGUMENT...]] | --from=cronjob/NAME) [FLAGS]"
    parser.add_argument("--image", default="", help="image of the container")
    parser.add_argument("--from", dest="source", default="", metavar="cronjob/NAME", help="cron job whose template to use")


def job(args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest, NotFound."""
    if bool(args.image) == bool(args.source):
        raise BadRequest("either --image or --from must be specified")
    if args.source and command:
        raise BadRequest("cannot specify --from and command")
    return _job_of(args) if args.source else {"spec": _job_spec(args, command, "Never")}


def _job_spec(args: Any, command: list[str], restart: str) -> dict[str, Any]:
    container = {"name": args.name, "image": args.image, **({"command": command} if command else {})}
    return {"template": {"spec": {"containers": [container], "restartPolicy": restart}}}


def _job_of(args: Any) -> dict[str, Any]:
    """A Job of a CronJob, which owns it, as its controller would make it now. Raises BadRequest, NotFound."""
    from cli import flags
    from pinnace import codec, kinds

    client = getattr(args, "client", None) or flags.client(args)
    found = flags.targets([args.source])
    if len(found) != 1 or not found[0][1]:
        raise BadRequest("from must be an existing cronjob")
    [(kind, name)] = found
    if kind is not kinds.CRON_JOB:
        raise BadRequest(f"unknown object type {kind.kind}: from must be an existing cronjob")
    owner = client.get(kind, client.context.namespace, name)
    template = codec.encode(owner.spec.jobTemplate)
    meta = template.get("metadata", {})
    reference = {
        "apiVersion": kind.api_version, "kind": kind.kind, "name": owner.metadata.name, "uid": owner.metadata.uid,
        "controller": True,
    }  # fmt: skip
    notes = {"cronjob.kubernetes.io/instantiate": "manual", **meta.get("annotations", {})}
    labels = {"labels": meta["labels"]} if meta.get("labels") else {}
    return {"metadata": {"annotations": notes, **labels, "ownerReferences": [reference]}, "spec": template.get("spec", {})}


def add_cron_job(parser: Any) -> None:
    parser.usage = "kctl create cronjob NAME --image=IMAGE --schedule='0/5 * * * ?' [FLAGS] [-- COMMAND [ARGUMENT...]]"
    parser.add_argument("--image", default="", help="image of the container")
    parser.add_argument("--schedule", default="", help="times in the cron format, such as '*/5 * * * *'")
    parser.add_argument("--restart", default="OnFailure", help="restart policy: OnFailure or Never (default: %(default)s)")


def cron_job(args: Any, command: list[str]) -> dict[str, Any]:
    """Raises BadRequest."""
    missing = [f'"{name}"' for name in ("image", "schedule") if not getattr(args, name)]
    if missing:
        raise BadRequest(f"required flag(s) {', '.join(missing)} not set")
    template = {"metadata": {"name": args.name}, "spec": _job_spec(args, command, args.restart or "OnFailure")}
    return {"spec": {"schedule": args.schedule, "jobTemplate": template}}


def _name(image: str) -> str:
    """Of a container: the last part of its image's name; made unique where characters had to be replaced."""
    name = image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    if "_" not in name and "." not in name:
        return name
    # Imported here: it brings asyncio, which takes longer than the rest of the command.
    from pinnace.clock import RandomIds

    return f"{name.replace('_', '-').replace('.', '-')}-{RandomIds().suffix()}"


def split(values: list[str]) -> list[str]:
    """Of a flag that may be repeated and takes several values at once; each value once, in order."""
    return list(dict.fromkeys(part for value in values for part in value.split(",") if part))


def add_quota(parser: Any) -> None:
    parser.add_argument("--hard", default="", help="limits, such as pods=10,requests.cpu=4")
    parser.add_argument("--scopes", default="", help="comma-separated scopes that an object must all have to count")


def quota(args: Any, command: list[str]) -> dict[str, Any]:
    hard = {}
    for statement in args.hard.split(",") if args.hard else ():
        name, sign, amount = statement.partition("=")
        if not sign or "=" in amount:
            raise BadRequest(f"Invalid argument syntax {statement[:80]}, expected <resource>=<value>")
        try:
            quantity.parse(amount)
        except ValueError as error:
            raise BadRequest(f"{name[:80]}: {error}") from None
        hard[name] = amount
    scopes = args.scopes.split(",") if args.scopes else []
    if "" in scopes:
        raise BadRequest('invalid resource quota scope ""')
    return {"spec": {key: value for key, value in (("hard", hard), ("scopes", scopes)) if value}}


def add_priority_class(parser: Any) -> None:
    parser.add_argument("--value", type=int, default=0, help="priority of pods, higher first (default: 0)")
    parser.add_argument("--global-default", action="store_true", help="use this class for pods that name none")
    parser.add_argument("--description", default="", help="when to use this class")
    parser.add_argument(
        "--preemption-policy", default="PreemptLowerPriority", help="PreemptLowerPriority or Never (default: %(default)s)"
    )


def priority_class(args: Any, command: list[str]) -> dict[str, Any]:
    found = {"value": args.value, "preemptionPolicy": args.preemption_policy}
    found |= {"globalDefault": True} if args.global_default else {}
    return found | ({"description": args.description} if args.description else {})
