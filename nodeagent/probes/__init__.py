"""Probes and lifecycle hooks: `tally` judges, `checks` asks, `prober` repeats, `hooks` asks once."""
