"""One file for each command; each has `run(arguments) -> exit code`."""
