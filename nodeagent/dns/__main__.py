"""`python -I -S .../nodeagent/dns PACKAGES OPTIONS`: the resolver, in an interpreter without site and environment.

PACKAGES is the directory in which dnspython is installed, OPTIONS the JSON text of `options.Options`.
"""

from __future__ import annotations

import sys
from types import ModuleType

# Instead of this directory, whose modules would otherwise be found by their bare names.
sys.path[0] = __file__.rsplit("/nodeagent/", 1)[0]
sys.path.append(sys.argv[1])


def _leave_out() -> None:
    """Modules that are imported where they are there, and serve nothing here: OpenSSL alone takes 5 MB. dnspython looks for its
    optional parts with importlib.metadata, which imports the email package."""
    for name in ("ssl", "_ssl", "_hashlib"):
        sys.modules[name] = None  # type: ignore[assignment]
    import dns

    features = ModuleType("dns._features")
    features.have = lambda feature: False  # type: ignore[attr-defined]
    sys.modules["dns._features"] = dns._features = features


if __name__ == "__main__":
    _leave_out()
    from nodeagent.dns import process

    process.main(sys.argv[2])
