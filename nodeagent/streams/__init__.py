"""The node's end of streams: logs, exec and image loading, over the agent's own outgoing call."""
