"""The proxy subresources: HTTP requests that go on to a port of a pod, and what there is to read of a node's agent."""
