"""Forwarding of packets of established connections past bridge, routes and rules: see `program`."""
