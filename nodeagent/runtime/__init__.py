"""Containers out of namespaces. `seam` is the interface, `native` the implementation."""
