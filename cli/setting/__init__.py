"""Changes of pod templates by `kctl set`: the specs, their parts, and the patch that follows."""
