"""Containers by an OCI runtime (runc, crun) over the same bundles as the native runtime's.

`runtime` is the agent's side; it writes what `spec` and `filters` make of a bundle's configuration. `launcher/oci.py` runs in
the monitor in place of the native init. Sandbox, log, record of the exit, exec and recovery are the native runtime's.
"""
