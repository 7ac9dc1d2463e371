"""`kctl config`: contexts, and the configuration without its secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli import contexts, flags, kubeconfig, output, redaction, tables
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("config", "Contexts (get-, use-, set-, delete-context), and the configuration")
    verbs = parser.verbs()
    listing = verbs.add_parser("get-contexts", help="list contexts; an asterisk marks the current one")
    listing.add_argument("name", nargs="*", help="only these contexts")
    listing.add_argument("-o", "--output", default="", choices=("", "name"), help="name: only the names")
    listing.add_argument("--no-headers", action="store_true", help="print no header line")
    verbs.add_parser("current-context", help="print the current context's name")
    view = verbs.add_parser("view", help="print the configuration, secrets redacted")
    view.add_argument("--raw", action="store_true", help="print certificates, keys and tokens too")
    view.add_argument("--minify", action="store_true", help="print only what the current context uses")
    view.add_argument("-o", "--output", default="yaml", help="yaml, json or jsonpath=TEMPLATE (default: %(default)s)")
    for verb, text in (("use-context", "make a context the current one"), ("delete-context", "remove a context")):
        verbs.add_parser(verb, help=text).add_argument("name", help="name of the context")
    verbs.add_parser("kubeconfig", help="print a kubeconfig of the current context, for kubectl and other clients")
    change = verbs.add_parser("set-context", help="set a context's default namespace")
    change.add_argument("name", nargs="?", default="", help="the context (default: the current one)")
    change.add_argument("--current", action="store_true", help="change the current context")
    args = parser.parse_args(arguments)
    file = contexts.path(args.config)
    config = contexts.load(file)
    match args.verb:
        case "get-contexts":
            _list(config, args)
        case "current-context":
            print(_current(config))
        case "kubeconfig":
            _kubeconfig(args)
        case "view":
            _view(config, args)
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
            _set(config, file, args)
    return 0


def _kubeconfig(args: Any) -> None:
    """Raises BadRequest."""
    from pinnace.manifest.writing import dump

    context = contexts.current(args)
    if not context.rest:
        raise BadRequest(
            f'context "{context.name}" does not say where the REST API is: add rest-server: https://HOST:PORT to its cluster'
        )
    print(dump(kubeconfig.document(context, context.rest)))


def _current(config: dict[str, Any]) -> str:
    if not config.get("current-context"):
        raise BadRequest("current-context is not set")
    return str(config["current-context"])


def _set(config: dict[str, Any], file: Path, args: Any) -> None:
    if not args.namespace:
        raise BadRequest("missing flag: --namespace NAME")
    name = args.name or _current(config)
    context = contexts.entry(config, "contexts", name)
    contexts.put(config, "contexts", name, "context", {**context, "namespace": args.namespace})
    contexts.save(file, config)
    print(f'Context "{name}" modified.')


def _list(config: dict[str, Any], args: Any) -> None:
    for name in args.name:
        contexts.entry(config, "contexts", name)
    chosen = [item for item in config["contexts"] if not args.name or item["name"] in args.name]
    if args.output == "name":
        for item in chosen:
            print(item["name"])
        return
    rows = [] if args.no_headers else [["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]]
    for item in chosen:
        fields = contexts.entry(config, "contexts", item["name"])
        mark = "*" if item["name"] == config.get("current-context") else ""
        rows.append([mark, item["name"], *(str(fields.get(name) or "") for name in ("cluster", "user", "namespace"))])
    if rows:
        print(tables.render(rows))


def _view(config: dict[str, Any], args: Any) -> None:
    if args.output not in ("yaml", "json") and not args.output.startswith("jsonpath"):
        raise BadRequest(f"-o {args.output}: config view prints yaml, json or jsonpath=TEMPLATE")
    output.check(args.output)
    shown = _minified(config) if args.minify else config
    print(output.structured(args.output, [shown if args.raw else redaction.redacted(shown)], single=True), end="")


def _minified(config: dict[str, Any]) -> dict[str, Any]:
    """Raises BadRequest without a current context."""
    name = _current(config)
    used = contexts.entry(config, "contexts", name)
    wanted = {"contexts": name, "clusters": used.get("cluster"), "users": used.get("user")}
    return {**config, **{kind: [item for item in config[kind] if item["name"] == wanted[kind]] for kind in contexts.KINDS}}
