"""Rollouts of workloads, as `kctl rollout` sees them: one file for each kind, and the table of them."""
