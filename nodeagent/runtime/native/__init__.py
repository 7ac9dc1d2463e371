"""Our runtime. `runtime` is the agent's side; `launcher` and what it imports run in a process of their own.

    agent --(Unix socket)--> launcher --fork--> monitor --fork--> the container's init

The launcher is small, single-threaded and has imported nothing but the standard library, so forking it is cheap and
safe (gRPC and fork() do not mix). Monitors outlive both launcher and agent.
"""
