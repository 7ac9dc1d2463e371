"""`kctl completion`: a script that completes commands, kinds and names, by asking kctl."""

from __future__ import annotations

from cli import flags
from cli.main import COMMANDS
from pinnace import kinds

_BASH = r"""# kctl completion for bash: source <(kctl completion bash)
_kctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]} words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="@COMMANDS@"
    elif [[ $cmd =~ ^(logs|exec|why)$ ]]; then
        words=$(kctl get pods -o jsonpath='{.items[*].metadata.name}' 2>/dev/null)
    elif [ "$COMP_CWORD" -eq 2 ] && [[ $cmd =~ ^(get|describe|delete|wait|explain)$ ]]; then
        words="@KINDS@"
    elif [[ $cmd =~ ^(get|describe|delete|wait)$ ]]; then
        words=$(kctl get "${COMP_WORDS[2]}" -o jsonpath='{.items[*].metadata.name}' 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _kctl kctl
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + _BASH
_FISH = """# kctl completion for fish: kctl completion fish | source
complete -c kctl -n __fish_use_subcommand -f -a "@COMMANDS@"
complete -c kctl -n "__fish_seen_subcommand_from get describe delete wait explain" -f -a "@KINDS@"
complete -c kctl -n "__fish_seen_subcommand_from logs exec why" -f -a "(kctl get po -o name 2>/dev/null | string split -f2 /)"
"""


def run(arguments: list[str]) -> int:
    parser = flags.Parser("completion", "Print a completion script: source <(kctl completion bash)")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    args = parser.parse_args(arguments)
    script = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[args.shell]
    names = " ".join(kind.plural for kind in kinds.ALL)
    print(script.replace("@COMMANDS@", " ".join(COMMANDS)).replace("@KINDS@", names), end="")
    return 0
