"""What every role shares: the API's messages, its codec and rules, errors, identity and the client.

Nothing here knows a role: `controlplane`, `nodeagent` and `cli` import this package and never each other.
"""

__version__ = "0.1.0"
