"""HTTP/1.1 over TLS for strangers and clients, with limits on both. It knows nothing of what is served."""
