"""`kctl config`: contexts."""

from __future__ import annotations

from typing import Any

from cli import contexts, flags, output, tables
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("config", "Contexts: get-contexts, current-context, use-context, set-context, delete-context, view")
    verbs = parser.verbs()
    verbs.add_parser("get-contexts")
    verbs.add_parser("current-context")
    verbs.add_parser("view", help="the configuration, without keys")
    for verb in ("use-context", "delete-context"):
        verbs.add_parser(verb).add_argument("name")
    change = verbs.add_parser("set-context", help="set a context's default namespace")
    change.add_argument("name", nargs="?", default="")
    change.add_argument("--current", action="store_true")
    args = parser.parse_args(arguments)
    file = contexts.path(args.config)
    config = contexts.load(file)
    match args.verb:
        case "get-contexts":
            _list(config)
        case "current-context":
            if not config.get("current-context"):
                raise BadRequest("current-context is not set")
            print(config["current-context"])
        case "view":
            print(output.to_yaml(_without_keys(config)))
        case "use-context":
            contexts.entry(config, "contexts", args.name)
            config["current-context"] = args.name
            contexts.save(file, config)
            print(f'Switched to context "{args.name}".')
        case "delete-context":
            contexts.entry(config, "contexts", args.name)
            contexts.drop(config, args.name)
            contexts.save(file, config)
            print(f"deleted context {args.name} from {file}")
        case _:
            if not args.namespace:
                raise BadRequest("say what to set: --namespace NAME")
            name = args.name or config.get("current-context", "")
            context = contexts.entry(config, "contexts", name)
            contexts.put(config, "contexts", name, "context", {**context, "namespace": args.namespace})
            contexts.save(file, config)
            print(f'Context "{name}" modified.')
    return 0


def _list(config: dict[str, Any]) -> None:
    rows = [["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]]
    for item in config.get("contexts") or []:
        context, mark = item["context"], "*" if item["name"] == config.get("current-context") else ""
        rows.append([mark, item["name"], context["cluster"], context["user"], context.get("namespace", "")])
    print(tables.render(rows))


def _without_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "DATA+OMITTED" if k.endswith("-data") else _without_keys(v) for k, v in value.items()}
    return [_without_keys(item) for item in value] if isinstance(value, list) else value
