"""`kctl completion`: a script that completes commands, kinds and names, by asking kctl."""

from __future__ import annotations

from cli import flags
from cli.main import COMMANDS
from pinnace import kinds

# Verbs by command: as its parser has them, which a test compares. Importing all parsers takes longer than a completion may.
VERBS = {
    "auth": "can-i whoami",
    "config": "current-context delete-context get-contexts kubeconfig set-context use-context view",
    "create": (
        "clusterrole clusterrolebinding configmap cronjob deployment ingress job namespace poddisruptionbudget priorityclass "
        "quota role rolebinding secret service serviceaccount token"
    ),
    "image": "build history inspect list load prune pull push rm save tag",
    "lab": "clock cut down fill free heal list node start status stop up",
    "net": "capture trace verify",
    "node": "cordon join-command uncordon",
    "rollout": "history pause restart resume status undo",
    "set": "env image resources selector serviceaccount",
    "top": "node pod",
}
# What takes the name of a pod.
POD_COMMANDS = ("logs", "exec", "attach", "debug", "port-forward", "why")
# What takes a kind, then the name of an object.
KIND_COMMANDS = (
    "get", "describe", "delete", "wait", "patch", "scale", "autoscale", "label", "annotate", "edit", "tree", "timeline",
)  # fmt: skip
_BASH = r"""# kctl completion for bash: source <(kctl completion bash)
_kctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]} words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="@COMMANDS@"
    elif [[ $cmd =~ ^(@POD_WORDS@)$ ]]; then
        words=$(kctl get pods -o jsonpath='{.items[*].metadata.name}' 2>/dev/null)
    elif [ "$COMP_CWORD" -eq 2 ] && [[ $cmd =~ ^(@KIND_WORDS@|explain)$ ]]; then
        words="@KINDS@"
    elif [ "$COMP_CWORD" -gt 2 ] && [[ "$cmd ${COMP_WORDS[2]}" =~ ^net\ (capture|trace)$ ]]; then
        words=$(kctl get pods -o jsonpath='{.items[*].metadata.name}' 2>/dev/null)
    elif [ "$COMP_CWORD" -eq 2 ]; then
        case $cmd in
            @VERBS@
        esac
    elif [[ $cmd =~ ^(@KIND_WORDS@)$ ]]; then
        words=$(kctl get "${COMP_WORDS[2]}" -o jsonpath='{.items[*].metadata.name}' 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _kctl kctl
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + _BASH
_FISH = """# kctl completion for fish: kctl completion fish | source
complete -c kctl -n __fish_use_subcommand -f -a "@COMMANDS@"
complete -c kctl -n "__fish_seen_subcommand_from @KIND_COMMANDS@ explain" -f -a "@KINDS@"
complete -c kctl -n "__fish_seen_subcommand_from @POD_COMMANDS@" -f -a "(kctl get po -o name 2>/dev/null | string split -f2 /)"
"""


def run(arguments: list[str]) -> int:
    parser = flags.Parser("completion", "Print a completion script: source <(kctl completion bash)")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="shell to complete for")
    args = parser.parse_args(arguments)
    script = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[args.shell]
    names = " ".join(kind.plural for kind in kinds.ALL)
    verbs = "\n            ".join(f'{name}) words="{choice}" ;;' for name, choice in VERBS.items())
    words = {
        "VERBS": verbs, "COMMANDS": " ".join(COMMANDS), "KINDS": names,
        "POD_COMMANDS": " ".join(POD_COMMANDS), "POD_WORDS": "|".join(POD_COMMANDS),
        "KIND_COMMANDS": " ".join(KIND_COMMANDS), "KIND_WORDS": "|".join(KIND_COMMANDS),
    }  # fmt: skip
    for name, text in words.items():
        script = script.replace(f"@{name}@", text)
    print(script, end="")
    return 0
