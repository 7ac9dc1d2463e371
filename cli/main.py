"""`kctl`: finds the command, lets it parse its own arguments, and turns failures into messages and exit codes.

Nothing heavy is imported here: `kctl get pods` is to take a fifth of a second, and gRPC alone is half of that.
"""

from __future__ import annotations

import importlib
import os
import sys

# Command to module and one line of help, in the order of the overview.
COMMANDS: dict[str, tuple[str, str]] = {
    "get": ("get", "Show one or many objects"),
    "describe": ("describe", "Show objects in detail, with their events"),
    "explain": ("explain", "Document a kind and its fields"),
    "apply": ("apply", "Make objects what files say (server-side apply)"),
    "create": ("create", "Create objects from files or arguments"),
    "patch": ("patch", "Change some fields of objects"),
    "delete": ("delete", "Delete objects, and wait until they are gone"),
    "logs": ("logs", "Print the logs of containers"),
    "exec": ("exec", "Run a command in a container"),
    "attach": ("attach", "Attach to a container that runs"),
    "debug": ("debug", "Look around in a running pod with another image"),
    "port-forward": ("portforward", "Reach ports of a pod from here"),
    "cp": ("cp", "Copy files and folders to and from containers"),
    "top": ("top", "Show what nodes and pods use"),
    "wait": ("wait", "Wait for a condition of objects"),
    "events": ("events", "List events, oldest first"),
    "why": ("why", "Explain the scheduler's last decision about a pod"),
    "lab": ("lab", "Clusters of several nodes on this machine"),
    "node": ("node", "Join hosts, cordon and uncordon nodes"),
    "image": ("image", "Images on nodes: list, pull, load, build, remove"),
    "doctor": ("doctor", "Check this machine, and say how to mend it"),
    "api-resources": ("apiresources", "List the kinds that are served"),
    "config": ("config", "Contexts: list, show, choose"),
    "version": ("version", "Versions of kctl and the control plane"),
    "completion": ("completion", "Shell completion for bash, zsh or fish"),
}
# kubectl's commands that are called something else here, or come with kinds that are not there yet.
INSTEAD = {
    "cordon": "kctl node cordon",
    "uncordon": "kctl node uncordon",
    "drain": "kctl node cordon, then kctl delete pod",
    "label": "kctl patch, or kctl apply of the changed manifest",
    "annotate": "kctl patch, or kctl apply of the changed manifest",
    "edit": "kctl patch, or kctl apply of the changed manifest",
    "replace": "kctl apply",
    "run": "kctl apply -f with a manifest of the pod",
    "cluster-info": "kctl version, kctl get nodes",
    "diff": "kctl apply --dry-run=server -o yaml",
}
# Global flags that may stand before the command, and whether they take a value.
GLOBAL_FLAGS = {"-n": True, "--namespace": True, "--context": True, "--config": True}


def main() -> None:
    arguments = sys.argv[1:]
    try:
        code = run(arguments)
        # Here, where a failure can still be told.
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader of our output has gone, as in `kctl get pods | head`.
        code = _give_up_output(0)
    except OSError as error:
        # The output's disk is full, a file of ours cannot be read.
        print(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        code = _give_up_output(1)
    sys.exit(code)


def _give_up_output(code: int) -> int:
    """What is still buffered goes nowhere, so that the interpreter's own flush at the end does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def run(arguments: list[str]) -> int:
    """Run a command line; returns the exit code."""
    before, command, rest = split(arguments)
    if command == "help" and rest:
        command, rest = rest[0], ["--help"]
    if command is None or command in ("help", "-h", "--help"):
        print(overview())
        return 0 if command or not before else 1
    if command not in COMMANDS:
        print(f"error: {unknown(command)}", file=sys.stderr)
        return 1
    module = importlib.import_module(f"cli.commands.{COMMANDS[command][0]}")
    from cli.complaints import complain
    from pinnace.errors import ApiError

    try:
        return int(module.run([*before, *rest]) or 0)
    except ApiError as error:
        complain(error)
        return 1


def unknown(word: str) -> str:
    """What to say of a word that is no command."""
    if word.startswith("-"):
        return f'unknown flag "{word}" before the command: {", ".join(GLOBAL_FLAGS)} may stand there, others follow it'
    instead = f"use {INSTEAD[word]}" if word in INSTEAD else "kctl --help lists them"
    return f'unknown command "{word}" for "kctl" ({instead})'


def split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Global flags before the command, the command, and what follows."""
    before: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        name = word.partition("=")[0]
        if word in ("-h", "--help") or not word.startswith("-"):
            return before, word, arguments[index + 1 :]
        if name not in GLOBAL_FLAGS:
            return before, word, arguments[index + 1 :]
        takes = 2 if GLOBAL_FLAGS[name] and "=" not in word else 1
        before += arguments[index : index + takes]
        index += takes
    return before, None, []


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "kctl controls a Pinnace cluster.",
            "",
            "Usage: kctl [-n NAMESPACE] [--context NAME] COMMAND [ARGUMENTS]",
            "",
            "Commands:",
            *lines,
            "",
            'Use "kctl COMMAND --help" for a command\'s flags.',
        ]
    )


if __name__ == "__main__":
    main()
