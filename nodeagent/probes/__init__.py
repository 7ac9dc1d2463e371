"""Probes and lifecycle hooks: `checks` does one check, `prober` repeats it, `resultcounter` counts results,
`command` runs a command in a container, `execslots` bounds how many run at once."""
