"""Shared by every role: the API's messages, their codec, schema and rules, manifests, errors, certificates and clocks.

Nothing here depends on a role: `controlplane`, `nodeagent` and `cli` import this package and never each other.
"""

__version__ = "0.1.0"
