"""The kernel's interface where the standard library has none: system calls, procfs, file descriptors, terminals, trees.

Used by the agent and by the launcher, so nothing here imports more than the standard library and `nodeagent.linux`.
"""
