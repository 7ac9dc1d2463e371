"""`kctl`: finds the command, lets it parse its own arguments, and turns failures into messages and exit codes.

Nothing heavy is imported here: `kctl get pods` is to take a fifth of a second, and gRPC alone is half of that. `kctl version
--client` takes as long as kubectl's.
"""

from __future__ import annotations

import _thread
import importlib
import os
import signal
import sys
import threading
from typing import Any

from cli import standardstreams

# Command to module and one line of help, in the order of the overview.
COMMANDS: dict[str, tuple[str, str]] = {
    "get": ("get", "Show one or many objects"),
    "describe": ("describe", "Show objects in detail, with their events"),
    "explain": ("explain", "Document a resource type and its fields"),
    "apply": ("apply", "Create or update objects from files (server-side apply)"),
    "run": ("run", "Run a pod of one container"),
    "diff": ("diff", "Show the changes that apply would make"),
    "create": ("create", "Create objects from files or arguments"),
    "replace": ("replace", "Replace existing objects by those of files"),
    "edit": ("edit", "Edit objects in an editor"),
    "patch": ("patch", "Change some fields of objects"),
    "label": ("label", "Set and remove labels of objects"),
    "annotate": ("annotate", "Set and remove annotations of objects"),
    "scale": ("scale", "Set the number of replicas of objects"),
    "expose": ("expose", "Create a Service for the pods of an object"),
    "autoscale": ("autoscale", "Create autoscalers of workloads"),
    "set": ("set", "Set images, environment, resources and service account of pod templates, and selectors of Services"),
    "tree": ("tree", "Show objects with their dependents"),
    "rollout": ("rollout", "Follow and control rollouts of workloads"),
    "delete": ("delete", "Delete objects and wait until they are gone"),
    "logs": ("logs", "Print the logs of containers"),
    "exec": ("exec", "Run a command in a container"),
    "attach": ("attach", "Attach to a running container"),
    "debug": ("debug", "Debug a running pod with a container of another image"),
    "port-forward": ("portforward", "Forward local ports to a pod, or to one of a workload or Service"),
    "proxy": ("proxy", "Serve the REST API on a local port"),
    "cp": ("cp", "Copy files and directories to and from containers"),
    "top": ("top", "Show CPU and memory usage of nodes and pods"),
    "net": ("net", "Verify nodes' networks, trace packets, capture pods' packets"),
    "wait": ("wait", "Wait for a condition of objects"),
    "events": ("events", "List events, oldest first"),
    "timeline": ("timeline", "Show the changes and events of an object and its dependents, with their authors"),
    "why": ("why", "Explain the scheduling of a pod, or why pods of a Service are not endpoints"),
    "cordon": ("cordon", "Mark nodes as unschedulable"),
    "uncordon": ("uncordon", "Mark nodes as schedulable"),
    "drain": ("drain", "Cordon nodes and evict their pods"),
    "taint": ("taint", "Set and remove taints of nodes"),
    "lab": ("lab", "Manage clusters of several nodes on this machine"),
    "node": ("node", "Join hosts, cordon and uncordon nodes"),
    "image": ("image", "Manage images: list, pull, load, build, tag, push, save, inspect, remove"),
    "doctor": ("doctor", "Check whether this machine can run a node, with fixes"),
    "auth": ("auth", "Check permissions, and show the current user"),
    "api-resources": ("apiresources", "List the served resource types"),
    "api-versions": ("apiversions", "List the served API groups and versions"),
    "cluster-info": ("clusterinfo", "Print the addresses of the control plane"),
    "config": ("config", "Manage contexts: list, show, choose"),
    "version": ("version", "Print the versions of kctl and the control plane"),
    "completion": ("completion", "Print a completion script for bash, zsh or fish"),
}
# Characters of an error that was not foreseen.
MAX_ERROR = 2_000
# Global flags that may stand before the command, and whether they take a value.
GLOBAL_FLAGS = {"-n": True, "--namespace": True, "--context": True, "--config": True}


def main() -> None:
    """Run the command line and exit: 0, 1 after an error, 130 after Ctrl-C, by SIGPIPE when the output's reader has gone."""
    try:
        standardstreams.prepare()
        signal.signal(_END, _raise_interrupt)
        threading.excepthook = _report_thread
        code = _exit_code(sys.argv[1:])
        # Here, where a failure can still be reported.
        standardstreams.flush()
    except KeyboardInterrupt:
        code = _interrupted()
        standardstreams.discard()
        # Here, where the exception still holds what was interrupted: a destructor of gRPC's waits for ever for a call whose
        # start was interrupted.
        os._exit(code)
    except BrokenPipeError:
        # As kubectl and other filters do in `kctl get pods | head`.
        standardstreams.end_by_signal(signal.SIGPIPE)
        code = 128 + signal.SIGPIPE
    except Exception as error:
        # argparse's clean-up fails when a parse is interrupted.
        code = 130 if isinstance(error.__context__, KeyboardInterrupt) else _report(error)
    standardstreams.discard()
    sys.exit(code)


def _exit_code(arguments: list[str]) -> int:
    """argparse exits by itself, after --help and after errors; what it printed is still to be flushed."""
    try:
        return run(arguments)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0


def _report(error: Exception) -> int:
    """One line for a failure that no command expects, such as a full disk; with PINNACE_DEBUG, its traceback first."""
    if os.environ.get("PINNACE_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, UnicodeError):
        text = f"an argument or a file's name is not valid UTF-8 ({error.reason if hasattr(error, 'reason') else error})"
    else:
        text = f"kctl failed unexpectedly: {type(error).__name__}: {error} (PINNACE_DEBUG=1 shows where)"
    try:
        print("error: " + " ".join(text.split())[:MAX_ERROR], file=sys.stderr)
    except OSError:
        # There is nowhere left to report to.
        pass
    return 1


# Interrupts the main thread for a failed thread. Not SIGINT, which a shell makes its background commands ignore.
_END = signal.SIGUSR1
# Failures that threads did not catch; the first one ends kctl.
_failures: list[Exception] = []


def _report_thread(failure: Any) -> None:
    """End the main thread, which may wait for this one or for a server, so that it restores the terminal and exits."""
    if isinstance(failure.exc_value, Exception):
        _failures.append(failure.exc_value)
        _thread.interrupt_main(_END)


def _raise_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _interrupted() -> int:
    """The exit code after Ctrl-C, or of the thread that asked for the end."""
    if not _failures:
        return 130
    if isinstance(_failures[0], BrokenPipeError):
        standardstreams.end_by_signal(signal.SIGPIPE)
    return _report(_failures[0])


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
    return f'unknown command "{word}" for "kctl" (kctl --help lists them)'


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
