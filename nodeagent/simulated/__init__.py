"""Simulated nodes: agents that join and report like real ones, and whose pods follow a script instead of running.

Many in one process, through the real API with real certificates: for the size of a control plane, and for controllers that need
more nodes than a machine has. Nothing here starts a container or touches the host's network.
"""
