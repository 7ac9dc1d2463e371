"""Answering on the underlay for addresses of Services of type LoadBalancer that the control plane has given this node."""
