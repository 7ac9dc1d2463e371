"""The lifecycle of pods on this node: `steps` decides the next step, `worker` takes it, `status` computes the pod's status."""
