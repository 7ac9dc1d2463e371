"""`kctl net`: the overlay's state on every node, the path of a packet, and a pod's packets."""
