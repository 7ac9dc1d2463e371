"""Streams of the REST API: exec, attach, port-forward and logs, over SPDY/3.1, WebSocket and plain HTTP."""
