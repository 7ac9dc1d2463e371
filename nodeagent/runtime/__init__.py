"""The agent's side of container runtimes: `interface`, its implementations `nativeruntime` and `oci`, and cgroups."""
