"""Static pods: manifests in a directory of the node, and their mirror pods in the API."""
