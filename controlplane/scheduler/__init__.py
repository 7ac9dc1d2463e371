"""Which node runs which pod. `placement` decides and is pure; `service` watches, commits and explains."""
