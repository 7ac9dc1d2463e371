"""The node agent: pods on this host. It dials the control plane and never listens on the network."""
