"""Containers out of namespaces. `seam` is the interface, `native` ours, `fake` for tests without a kernel."""
