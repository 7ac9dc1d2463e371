"""Graceful node shutdown: pods are stopped in the order of their priority before systemd stops the machine."""
