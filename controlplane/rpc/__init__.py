"""The gRPC API: thin services over `requests`. Only the server, which puts the process together, imports it."""
