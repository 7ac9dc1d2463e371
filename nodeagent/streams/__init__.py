"""The node's end of streams: logs, exec, attach, port-forward, copies, images, builds and statistics, each over a call that
the agent opens."""
