"""`python -I -S .../nodeagent/unpacker DESCRIPTOR PACKAGES IDLE`: the unpacker, in an interpreter without site and environment.

DESCRIPTOR is the socket on which requests come, PACKAGES the directory in which zstandard is installed, IDLE
the seconds without a request after which it ends.
"""

from __future__ import annotations

import sys

# Instead of this directory, whose modules would otherwise be found by their bare names.
sys.path[0] = __file__.rsplit("/nodeagent/", 1)[0]
sys.path.append(sys.argv[2])

if __name__ == "__main__":
    from nodeagent.unpacker import server

    server.main(int(sys.argv[1]), float(sys.argv[3]))
