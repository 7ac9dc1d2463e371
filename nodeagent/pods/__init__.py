"""The life of pods on this node: `steps` decides what to do next, `worker` does it, `status` says how it stands."""
