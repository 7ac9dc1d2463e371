"""`python -I -S .../nodeagent/dns OPTIONS`: the resolver, in an interpreter without site and environment.

OPTIONS is the JSON text of `options.Options`.
"""

from __future__ import annotations

import sys

# Instead of this directory, whose modules would otherwise be found by their bare names.
sys.path[0] = __file__.rsplit("/nodeagent/", 1)[0]

if __name__ == "__main__":
    # Imported where they are there, and of no use here: OpenSSL alone takes 5 MB.
    for name in ("ssl", "_ssl", "_hashlib"):
        sys.modules[name] = None  # type: ignore[assignment]
    from nodeagent.dns import process

    process.main(sys.argv[1])
